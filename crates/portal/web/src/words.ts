// What the script says, in the languages of the pages: one table of each, and one that lacks something does not compile.

const ENGLISH = {
  notSigned: "Nothing was signed. Try again when you are ready.",
  walletNotSigned: "The wallet signed nothing. Try again when you are ready.",
  unreachable: "The server could not be reached. Please try again.",
  failed: "This did not work. Please try again.",
  elsewhere: "The server sent us to another site, where we do not go.",
  signIn: "Sign in",
  sign: "Sign",
  noWallet: "No wallet was found in this browser. Install one, or unlock it, and load this page again.",
  noWalletAccount: "The wallet has no account for this page.",
  otherAccount: "The wallet is at another account. Please choose this one in it:",
  noPasskeyChosen: "No passkey was chosen.",
  unusablePasskey: "This device made no passkey that can be used here.",
  nameless: "This passkey does not say whose it is. Please choose another.",
  makePasskey: "Make a passkey",
  notAsShown: "What is to be signed is not what is shown here. Nothing was signed.",
  signed: "Signed. One moment …",
  sheetTitle: "Your recovery sheet",
  sheetText:
    "If you lose your passkey, this key opens your records again. Nobody else has it, and it is shown only now. Print it or write it down, and keep it with your important papers.",
  print: "Print",
  kept: "I have kept it",
  notKept: "Nothing was made, because the recovery sheet was not kept. Please try again.",
  sheetLength: "A recovery key has 14 groups of 4 letters and digits. Please look at the sheet again.",
  sheetSlip: "There is a slip in this recovery key. Please compare it with the sheet, group by group.",
  openHere: "Open on this device",
  noKey: "This passkey keeps no key to open records with. Please type the key from your recovery sheet.",
  otherKey: "The answer would be sealed to another key than yours. Nothing was asked.",
  badAnswer: "This answer is for another key or question, or it was changed on its way.",
  openMore: "Open more",
  opened: (count: number) => (count === 1 ? "One record was opened on this device." : `${count} records were opened on this device.`),
  left: (time: string) => `${time} left`,
};

export type Words = typeof ENGLISH;

const IRISH: Words = {
  notSigned: "Níor síníodh aon rud. Bain triail eile as nuair atá tú réidh.",
  walletNotSigned: "Níor shínigh an sparán aon rud. Bain triail eile as nuair atá tú réidh.",
  unreachable: "Níorbh fhéidir an freastalaí a shroicheadh. Bain triail eile as.",
  failed: "Níor éirigh leis seo. Bain triail eile as.",
  elsewhere: "Sheol an freastalaí go suíomh eile sinn, agus ní théimid ann.",
  signIn: "Sínigh isteach",
  sign: "Sínigh",
  noWallet: "Níor aimsíodh sparán sa bhrabhsálaí seo. Suiteáil ceann, nó díghlasáil é, agus lódáil an leathanach seo arís.",
  noWalletAccount: "Níl cuntas ag an sparán don leathanach seo.",
  otherAccount: "Tá cuntas eile roghnaithe sa sparán. Roghnaigh an ceann seo ann:",
  noPasskeyChosen: "Níor roghnaíodh eochair phas.",
  unusablePasskey: "Ní dhearna an gléas seo eochair phas is féidir a úsáid anseo.",
  nameless: "Ní deir an eochair phas seo cé leis í. Roghnaigh ceann eile.",
  makePasskey: "Déan eochair phas",
  notAsShown: "Ní hionann a bhfuil le síniú agus a bhfuil ar taispeáint anseo. Níor síníodh aon rud.",
  signed: "Sínithe. Nóiméad amháin …",
  sheetTitle: "Do bhileog athshlánaithe",
  sheetText:
    "Má chailleann tú d’eochair phas, osclóidh an eochair seo do thaifid arís. Níl sí ag aon duine eile, agus ní thaispeántar í ach anois. Priontáil í nó scríobh síos í, agus coinnigh í le do pháipéir thábhachtacha.",
  print: "Priontáil",
  kept: "Choinnigh mé í",
  notKept: "Ní dhearnadh aon rud, mar nár coinníodh an bhileog athshlánaithe. Bain triail eile as.",
  sheetLength: "Tá 14 ghrúpa de 4 litir agus digit in eochair athshlánaithe. Féach ar an mbileog arís.",
  sheetSlip: "Tá earráid san eochair athshlánaithe seo. Cuir i gcomparáid leis an mbileog í, grúpa ar ghrúpa.",
  openHere: "Oscail ar an ngléas seo",
  noKey: "Níl eochair ag an eochair phas seo chun taifid a oscailt. Clóscríobh an eochair ó do bhileog athshlánaithe.",
  otherKey: "Chuirfí an freagra faoi ghlas d’eochair eile seachas do cheann féin. Níor cuireadh aon cheist.",
  badAnswer: "Is d’eochair nó do cheist eile an freagra seo, nó athraíodh ar an mbealach é.",
  openMore: "Oscail tuilleadh",
  opened: (count) => (count === 1 ? "Osclaíodh taifead amháin ar an ngléas seo." : `Osclaíodh ${count} taifead ar an ngléas seo.`),
  left: (time) => `${time} fágtha`,
};

/** The words of the page's language. */
export const words: Words = globalThis.document?.documentElement.lang === "ga" ? IRISH : ENGLISH;
