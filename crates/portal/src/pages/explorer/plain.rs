//! The words of "How it is recorded", for patients: what each entry says, without the words of a chain.
//!
//! Both languages stand in one type, so that a sentence that is missing in one of them does not compile.

use crate::look::Language;

/// The words of the pages.
pub(crate) struct Plain {
    pub(crate) title: &'static str,
    pub(crate) lead: &'static str,
    pub(crate) why_title: &'static str,
    pub(crate) why: [&'static str; 3],
    pub(crate) nothing_title: &'static str,
    pub(crate) nothing: &'static str,
    pub(crate) sharing: &'static str,
    pub(crate) when: &'static str,
    pub(crate) what: &'static str,
    pub(crate) who: &'static str,
    pub(crate) details: &'static str,
    pub(crate) look: &'static str,
    pub(crate) newest: &'static str,
    pub(crate) older: &'static str,
    pub(crate) entry: &'static str,
    pub(crate) held_title: &'static str,
    pub(crate) held: &'static str,
    pub(crate) compare: &'static str,
    pub(crate) compare_text: &'static str,
    pub(crate) place: &'static str,
    pub(crate) since: &'static str,
    pub(crate) mark: &'static str,
    pub(crate) page_mark: &'static str,
    pub(crate) back: &'static str,
    language: Language,
}

/// The words in a language.
pub(crate) const fn of(language: Language) -> &'static Plain {
    match language {
        Language::English => &ENGLISH,
        Language::Irish => &IRISH,
    }
}

impl Plain {
    /// What an entry says, by the name that the contracts give it.
    pub(crate) fn sentence(&self, event: &str) -> &'static str {
        let found = SENTENCES.iter().find(|sentence| sentence.event == event).unwrap_or(&OTHER);
        match self.language {
            Language::English => found.english,
            Language::Irish => found.irish,
        }
    }
}

static ENGLISH: Plain = Plain {
    title: "How it is recorded",
    lead: "Every consent you give, every step of your care that is shared, and every emergency look leaves an entry in a book that all institutions of the network keep together. These are the entries about you.",
    why_title: "Why there is such a book",
    why: [
        "Nobody can take an entry out or change it, not even the hospital: every institution has the whole book, and a change would show at once.",
        "The book holds no health data, no name and no number of yours. It says that something happened, when, and which institution did it.",
        "Entries about other people are not shown to you, and yours are not shown to them.",
    ],
    nothing_title: "Nothing is recorded about you here yet",
    nothing: "As soon as you share something, or somebody proposes a record, its entry stands here.",
    sharing: "What you share",
    when: "When",
    what: "What was recorded",
    who: "Named in it",
    details: "Details",
    look: "Look at it",
    newest: "Newest",
    older: "Older",
    entry: "One entry about you",
    held_title: "This entry is in the book, and stays as it is",
    held: "Every institution of the network has the same entry at the same place.",
    compare: "Compare it yourself",
    compare_text: "If you ever doubt it, ask any other institution of the network to show you the entry with these marks: they must be the same, letter by letter.",
    place: "Page of the book",
    since: "Pages written since",
    mark: "Mark of the entry",
    page_mark: "Mark of the page",
    back: "Back to all entries",
    language: Language::English,
};

static IRISH: Plain = Plain {
    title: "Conas a thaifeadtar é",
    lead: "Fágann gach toiliú a thugann tú, gach céim de do chúram a roinntear, agus gach amharc éigeandála iontráil i leabhar a choinníonn institiúidí uile an líonra le chéile. Seo iad na hiontrálacha fútsa.",
    why_title: "Cén fáth a bhfuil a leithéid de leabhar ann",
    why: [
        "Ní féidir le haon duine iontráil a bhaint amach ná a athrú, fiú an t-ospidéal: tá an leabhar iomlán ag gach institiúid, agus d’fheicfí athrú láithreach.",
        "Níl aon sonraí sláinte, ainm ná uimhir de do chuid sa leabhar. Deir sé gur tharla rud éigin, cathain, agus cén institiúid a rinne é.",
        "Ní thaispeántar iontrálacha faoi dhaoine eile duit, agus ní thaispeántar do chuidse dóibh.",
    ],
    nothing_title: "Níl aon rud taifeadta fút anseo fós",
    nothing: "A luaithe a roinnfidh tú rud éigin, nó a mholfaidh duine taifead, beidh a iontráil anseo.",
    sharing: "Cad a roinneann tú",
    when: "Cathain",
    what: "Cad a taifeadadh",
    who: "Ainmnithe ann",
    details: "Sonraí",
    look: "Féach air",
    newest: "Is nuaí",
    older: "Níos sine",
    entry: "Iontráil amháin fút",
    held_title: "Tá an iontráil seo sa leabhar, agus fanann sí mar atá sí",
    held: "Tá an iontráil chéanna san áit chéanna ag gach institiúid den líonra.",
    compare: "Cuir i gcomparáid tú féin í",
    compare_text: "Má bhíonn amhras ort choíche, iarr ar aon institiúid eile den líonra an iontráil leis na marcanna seo a thaispeáint duit: caithfidh siad a bheith mar a chéile, litir ar litir.",
    place: "Leathanach an leabhair",
    since: "Leathanaigh a scríobhadh ó shin",
    mark: "Marc na hiontrála",
    page_mark: "Marc an leathanaigh",
    back: "Ar ais chuig na hiontrálacha uile",
    language: Language::Irish,
};

/// What one sort of entry says.
struct Sentence {
    event: &'static str,
    english: &'static str,
    irish: &'static str,
}

const fn says(event: &'static str, english: &'static str, irish: &'static str) -> Sentence {
    Sentence { event, english, irish }
}

static OTHER: Sentence =
    says("", "A step that concerns you was recorded", "Taifeadadh céim a bhaineann leat");

#[rustfmt::skip]
static SENTENCES: &[Sentence] = &[
    says("ConsentGranted", "You let somebody see records of yours", "Lig tú do dhuine taifid de do chuid a fheiceáil"),
    says("ConsentRevoked", "You stopped somebody from seeing your records", "Chuir tú stop le duine do thaifid a fheiceáil"),
    says("ConsentCountersigned", "Your institution agreed to a permission of yours", "D’aontaigh d’institiúid le cead de do chuid"),
    says("CountersignatureWithdrawn", "Your institution no longer agrees to a permission of yours", "Ní aontaíonn d’institiúid le cead de do chuid a thuilleadh"),
    says("RelationshipProposed", "An institution asked to keep records for you", "D’iarr institiúid taifid a choinneáil duit"),
    says("RelationshipAccepted", "You let an institution keep records for you", "Lig tú d’institiúid taifid a choinneáil duit"),
    says("RelationshipEnded", "An institution keeps no new records for you any more", "Ní choinníonn institiúid taifid nua duit a thuilleadh"),
    says("PolicyProposed", "An institution asked to change how your records are shared", "D’iarr institiúid an chaoi a roinntear do thaifid a athrú"),
    says("PolicyChanged", "How your records are shared was changed", "Athraíodh an chaoi a roinntear do thaifid"),
    says("OfferWithdrawn", "An institution took back what it asked of you", "Tharraing institiúid siar an rud a d’iarr sí ort"),
    says("OfferDeclined", "You declined what an institution asked of you", "Dhiúltaigh tú don rud a d’iarr institiúid ort"),
    says("RecordProposed", "An institution proposed a record for you", "Mhol institiúid taifead duit"),
    says("RecordAccepted", "You accepted a record", "Ghlac tú le taifead"),
    says("RecordRejected", "You rejected a record", "Dhiúltaigh tú do thaifead"),
    says("RecordWithdrawn", "A proposed record was taken back", "Tarraingíodh siar taifead a moladh"),
    says("RecordDisputed", "You said that a record is wrong", "Dúirt tú go bhfuil taifead mícheart"),
    says("DisputeResolved", "A dispute about a record was settled", "Réitíodh díospóid faoi thaifead"),
    says("ErasureRequested", "You asked to have a record erased", "D’iarr tú go scriosfaí taifead"),
    says("RecordErased", "A record was erased", "Scriosadh taifead"),
    says("BatchAccepted", "You accepted several records at once", "Ghlac tú le roinnt taifead in éineacht"),
    says("RecordMaterialised", "A record of a batch was entered by itself", "Iontráladh taifead de bhaisc leis féin"),
    says("EmergencyOpened", "Somebody opened your records in an emergency", "D’oscail duine do thaifid in éigeandáil"),
    says("EmergencyEnded", "An emergency look at your records ended", "Chríochnaigh amharc éigeandála ar do thaifid"),
    says("EmergencyReviewed", "An emergency look at your records was reviewed", "Rinneadh athbhreithniú ar amharc éigeandála ar do thaifid"),
    says("EmergencyRestricted", "You changed what may be seen in an emergency", "D’athraigh tú an méid is féidir a fheiceáil in éigeandáil"),
    says("PrescriptionIssued", "A prescription was written for you", "Scríobhadh oideas duit"),
    says("PharmacyPermitted", "A pharmacy may see a prescription of yours", "Tá cead ag cógaslann oideas de do chuid a fheiceáil"),
    says("PharmacyWithdrawn", "A pharmacy may no longer see a prescription of yours", "Níl cead ag cógaslann oideas de do chuid a fheiceáil a thuilleadh"),
    says("PrescriptionClaimed", "A pharmacy is preparing a prescription of yours", "Tá cógaslann ag ullmhú oidis de do chuid"),
    says("Dispensed", "A medicine was handed out on a prescription of yours", "Tugadh cógas amach ar oideas de do chuid"),
    says("PrescriptionCompleted", "A prescription of yours was used up", "Úsáideadh oideas de do chuid go hiomlán"),
    says("PrescriptionCancelled", "A prescription of yours was cancelled", "Cuireadh oideas de do chuid ar ceal"),
    says("PrescriptionCountersigned", "A prescription of yours was signed a second time", "Síníodh oideas de do chuid an dara huair"),
    says("ProductSubstituted", "Another product was handed out in place of the prescribed one", "Tugadh táirge eile amach in ionad an chinn a ordaíodh"),
    says("CollectionConfirmed", "You confirmed that you collected a medicine", "Dhearbhaigh tú gur bhailigh tú cógas"),
    says("LabOrdered", "A laboratory test was ordered for you", "Ordaíodh tástáil saotharlainne duit"),
    says("SpecimenCollected", "A sample was taken for a test of yours", "Tógadh sampla do thástáil de do chuid"),
    says("SpecimenHandedOver", "A sample of yours was handed over", "Tugadh sampla de do chuid ar láimh"),
    says("PreliminaryReported", "A first result of a test of yours was reported", "Tuairiscíodh céad-toradh ar thástáil de do chuid"),
    says("ResultReported", "A result of a test of yours was reported", "Tuairiscíodh toradh ar thástáil de do chuid"),
    says("ResultReleased", "A result was released to you", "Scaoileadh toradh chugat"),
    says("ResultAcknowledged", "A clinician took note of a result of yours", "Thug cliniceoir toradh de do chuid faoi deara"),
    says("ResultCorrected", "A result of yours was corrected", "Ceartaíodh toradh de do chuid"),
    says("CriticalEscalated", "An urgent result of yours was passed on to somebody else", "Cuireadh toradh práinneach de do chuid ar aghaidh chuig duine eile"),
    says("LabOrderCancelled", "A laboratory test of yours was cancelled", "Cuireadh tástáil saotharlainne de do chuid ar ceal"),
    says("SurgeryReferred", "You were referred for an operation", "Atreoraíodh thú le haghaidh obráide"),
    says("SurgeryAssessed", "You were assessed for an operation", "Measúnaíodh thú le haghaidh obráide"),
    says("SurgeryConsented", "You consented to an operation", "Thoiligh tú le hobráid"),
    says("CoverageOffered", "An insurer offered you cover", "Thairg árachóir clúdach duit"),
    says("CoverageAccepted", "You accepted an insurer’s cover", "Ghlac tú le clúdach árachóra"),
    says("CoverageEnded", "An insurer’s cover ended", "Tháinig deireadh le clúdach árachóra"),
    says("ClaimContested", "You contested a claim", "Chuir tú in aghaidh éilimh"),
    says("CopaymentPaid", "You paid your part of a claim", "D’íoc tú do chuid d’éileamh"),
    says("DeviceBound", "A device was given to you", "Tugadh gléas duit"),
    says("DeviceUnbound", "A device is no longer yours", "Ní leatsa gléas a thuilleadh"),
    says("StudyConsented", "You agreed to take part in a study", "D’aontaigh tú páirt a ghlacadh i staidéar"),
    says("StudyConsentWithdrawn", "You left a study", "D’fhág tú staidéar"),
    says("PatientPaid", "You were paid for taking part in a study", "Íocadh thú as páirt a ghlacadh i staidéar"),
    says("AccountCreated", "Your account was made", "Rinneadh do chuntas"),
    says("IdentityBound", "An institution noted which account is yours", "Nótáil institiúid cén cuntas is leatsa"),
    says("IdentityUnbound", "An institution no longer says which account is yours", "Ní deir institiúid a thuilleadh cén cuntas is leatsa"),
    says("SignerChanged", "You changed the key that you sign with", "D’athraigh tú an eochair lena síníonn tú"),
    says("RecoveryProposed", "Somebody asked to recover your account", "D’iarr duine do chuntas a aisghabháil"),
    says("Executed", "You signed something", "Shínigh tú rud éigin"),
];

#[cfg(test)]
mod tests {
    use super::{super::interfaces, *};

    #[test]
    fn every_sentence_is_about_an_event_that_there_is() {
        for sentence in SENTENCES {
            let is_one = interfaces::all()
                .iter()
                .any(|interface| interface.abi.events().any(|event| event.name == sentence.event));
            assert!(is_one, "{}", sentence.event);
        }
    }

    #[test]
    fn patients_are_told_without_the_words_of_a_chain() {
        let texts = SENTENCES.iter().flat_map(|sentence| [sentence.english, sentence.irish]);
        let pages = [&ENGLISH, &IRISH].into_iter().flat_map(|words| {
            [words.lead, words.nothing, words.held, words.compare_text].into_iter().chain(words.why)
        });
        for text in texts.chain(pages) {
            let lower = text.to_lowercase();
            // Whole words: the Irish for a medicine ends in one of them.
            for word in lower.split(|letter: char| !letter.is_alphabetic()) {
                let of_a_chain =
                    ["chain", "block", "transaction", "hash", "gas", "ledger", "token", "wallet"];
                assert!(!of_a_chain.contains(&word), "{text}");
            }
        }
    }

    #[test]
    fn what_has_no_sentence_is_still_told() {
        assert_eq!(of(Language::English).sentence("SomethingNew"), OTHER.english);
        assert_eq!(
            of(Language::Irish).sentence("ConsentRevoked"),
            "Chuir tú stop le duine do thaifid a fheiceáil"
        );
    }
}
