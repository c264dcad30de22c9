//! Calls and events in words: which contract, which function, and each argument by its name with its meaning.
//!
//! Everything here is made of bytes that anybody may have sent, so nothing fails: what cannot be read is shown as
//! what it is. Depth and length are bounded by the contracts' own types and by [`INNER_MAX`].

use alloy_dyn_abi::{DynSolValue, EventExt as _, FunctionExt as _, JsonAbiExt as _};
use alloy_json_abi::{EventParam, Function, InternalType, Param};
use alloy_primitives::{Address, B256, Bytes, Log, U256, hex};
use alloy_sol_types::SolValue as _;
use bindings::{Deployment, PatientAccount};
use domain::{Kind, Purpose, Timestamp};

use super::interfaces::{self, ACCOUNT, Interface};

/// How many calls of an account's batch are put into words.
const INNER_MAX: usize = 64;

/// How deep accounts may call accounts before the rest is shown as bytes.
const DEPTH_MAX: usize = 4;

/// A call in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Where it goes; nowhere for a new contract.
    pub(crate) to: Option<Address>,
    /// The contract by name, when it is one of ours.
    pub(crate) contract: Option<&'static str>,
    /// The function by name, or what is known when it is none of ours.
    pub(crate) function: String,
    /// Whether the function is one of ours.
    pub(crate) is_known: bool,
    /// What it does, in its author's words.
    pub(crate) sentence: Option<String>,
    /// With what.
    pub(crate) arguments: Vec<Argument>,
    /// The calls that a patient's account makes when this one runs.
    pub(crate) inner: Vec<Call>,
    /// Calls of the batch that are not shown.
    pub(crate) inner_left_out: usize,
}

/// An event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Where it is from.
    pub(crate) from: Address,
    /// The contract by name, when it is one of ours.
    pub(crate) contract: Option<&'static str>,
    /// Its name.
    pub(crate) name: String,
    /// What it says, in its author's words.
    pub(crate) sentence: Option<String>,
    /// Of what.
    pub(crate) arguments: Vec<Argument>,
}

/// A value with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Argument {
    /// As the contract calls it; empty when it has no name.
    pub(crate) name: String,
    /// Its type in Solidity.
    pub(crate) kind: String,
    /// What it is.
    pub(crate) value: Value,
}

/// A value, with what it means where that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// Words or a number.
    Text(String),
    /// A number and its meaning.
    Meant {
        /// As it is stored.
        stored: String,
        /// What it stands for.
        means: String,
    },
    /// A time.
    Time(Timestamp),
    /// Somebody or something with an address.
    Address(Address),
    /// Bytes in hexadecimal, with their number.
    Bytes(String, usize),
    /// Several of one sort.
    List(Vec<Value>),
    /// Several with names.
    Fields(Vec<Argument>),
}

/// Puts a call into words.
pub(crate) fn call(deployment: &Deployment, to: Option<Address>, input: &[u8]) -> Call {
    call_at(deployment, to, input, 0)
}

fn call_at(deployment: &Deployment, to: Option<Address>, input: &[u8], depth: usize) -> Call {
    let plain = |function: String| Call {
        to,
        contract: None,
        function,
        is_known: false,
        sentence: None,
        arguments: Vec::new(),
        inner: Vec::new(),
        inner_left_out: 0,
    };
    let Some(callee) = to else {
        return plain(format!("deploys a contract, {} bytes", input.len()));
    };
    if input.is_empty() {
        return plain("sends ether".into());
    }
    let own = deployment.contract_at(&callee).map(interfaces::of);
    // Whatever is at no address of the registry may be a patient's account; its functions tell.
    let interface = own.or_else(|| interfaces::named(ACCOUNT));
    let known = interface.and_then(|interface| {
        let (function, values) = decode(interface, input)?;
        Some((interface, function, values))
    });
    let Some((interface, function, values)) = known else {
        let selector = input.get(..4).map(hex::encode_prefixed).unwrap_or_default();
        let unknown = format!("unknown call {selector}, {} bytes", input.len());
        return Call { contract: own.map(|own| own.name), ..plain(unknown) };
    };
    let mut said = Call {
        contract: Some(interface.name),
        is_known: true,
        sentence: interface.function_sentence(&function.name).map(str::to_owned),
        arguments: arguments(interface, &function.inputs, values),
        ..plain(function.name.clone())
    };
    if interface.name == ACCOUNT && function.name == "execute" && depth < DEPTH_MAX {
        let batch = batch(input).unwrap_or_default();
        said.inner_left_out = batch.len().saturating_sub(INNER_MAX);
        said.inner = batch
            .iter()
            .take(INNER_MAX)
            .map(|(to, data)| {
                // Zero is the account itself.
                let to = if to.is_zero() { callee } else { *to };
                call_at(deployment, Some(to), data, depth + 1)
            })
            .collect();
    }
    said
}

fn decode<'a>(interface: &'a Interface, input: &[u8]) -> Option<(&'a Function, Vec<DynSolValue>)> {
    let (selector, data) = input.split_first_chunk::<4>()?;
    let function = interface.abi.functions().find(|function| function.selector() == *selector)?;
    let values = function.abi_decode_input(data).ok()?;
    Some((function, values))
}

/// The calls in an account's batch.
fn batch(input: &[u8]) -> Option<Vec<(Address, Bytes)>> {
    use alloy_sol_types::SolCall as _;
    type Batch = (Vec<(Address, U256, Bytes)>, Bytes);
    let execute = PatientAccount::executeCall::abi_decode(input).ok()?;
    let (calls, _) = Batch::abi_decode_params_validate(&execute.executionData).ok()?;
    Some(calls.into_iter().map(|(to, _, data)| (to, data)).collect())
}

/// Puts an event into words.
pub(crate) fn event(deployment: &Deployment, log: &Log) -> Event {
    let own = deployment.contract_at(&log.address).map(interfaces::of);
    let interface = own.or_else(|| interfaces::named(ACCOUNT));
    let topic = log.topics().first().copied().unwrap_or(B256::ZERO);
    let known = interface.and_then(|interface| {
        let event = interface.abi.events().find(|event| event.selector() == topic)?;
        let decoded = event.decode_log(&log.data).ok()?;
        let (mut indexed, mut body) = (decoded.indexed.into_iter(), decoded.body.into_iter());
        let value = |input: &EventParam| {
            let value = if input.indexed { indexed.next() } else { body.next() }?;
            let param = Param {
                ty: input.ty.clone(),
                name: input.name.clone(),
                components: input.components.clone(),
                internal_type: input.internal_type.clone(),
            };
            Some(argument(interface, &param, value))
        };
        let arguments: Option<Vec<Argument>> = event.inputs.iter().map(value).collect();
        Some(Event {
            from: log.address,
            contract: Some(interface.name),
            name: event.name.clone(),
            sentence: interface.event_sentence(&event.name).map(str::to_owned),
            arguments: arguments?,
        })
    });
    known.unwrap_or_else(|| Event {
        from: log.address,
        contract: own.map(|own| own.name),
        name: format!("unknown event {topic}"),
        sentence: None,
        arguments: Vec::new(),
    })
}

/// Puts what a function gave back into words; `None` when it is not what the function gives.
pub(crate) fn outputs(
    interface: &Interface,
    function: &Function,
    data: &[u8],
) -> Option<Vec<Argument>> {
    let values = function.abi_decode_output(data).ok()?;
    Some(arguments(interface, &function.outputs, values))
}

fn arguments(interface: &Interface, params: &[Param], values: Vec<DynSolValue>) -> Vec<Argument> {
    params.iter().zip(values).map(|(param, value)| argument(interface, param, value)).collect()
}

fn argument(interface: &Interface, param: &Param, value: DynSolValue) -> Argument {
    Argument {
        name: param.name.clone(),
        kind: kind_of(param),
        value: meaning(interface, param, value),
    }
}

/// The type as people who call the function write it.
pub(crate) fn kind_of(param: &Param) -> String {
    match &param.internal_type {
        Some(InternalType::Enum { ty, .. } | InternalType::Struct { ty, .. }) => ty.clone(),
        _ => param.ty.clone(),
    }
}

fn meaning(interface: &Interface, param: &Param, value: DynSolValue) -> Value {
    match value {
        DynSolValue::Bool(true) => Value::Text("yes".into()),
        DynSolValue::Bool(false) => Value::Text("no".into()),
        DynSolValue::Int(number, _) => Value::Text(number.to_string()),
        DynSolValue::Uint(number, bits) => number_meaning(interface, param, number, bits),
        DynSolValue::FixedBytes(word, size) => word_meaning(&word.0[..size.min(32)]),
        DynSolValue::Address(address) => Value::Address(address),
        DynSolValue::Function(function) => bytes(function.as_slice()),
        DynSolValue::Bytes(content) => bytes(&content),
        DynSolValue::String(text) => Value::Text(text),
        DynSolValue::Array(values) | DynSolValue::FixedArray(values) => {
            let values = values.into_iter();
            Value::List(values.map(|value| meaning(interface, param, value)).collect())
        }
        DynSolValue::Tuple(values) => {
            Value::Fields(arguments(interface, &param.components, values))
        }
    }
}

fn number_meaning(interface: &Interface, param: &Param, number: U256, bits: usize) -> Value {
    let stored = number.to_string();
    let small = u8::try_from(number).ok();
    let meant = |means: Option<String>| match means {
        Some(means) => Value::Meant { stored: stored.clone(), means },
        None => Value::Text(stored.clone()),
    };
    if let Some(InternalType::Enum { contract, ty }) = &param.internal_type {
        // A list of values has the type with brackets.
        let ty = ty.split('[').next().unwrap_or(ty);
        let named = small
            .and_then(|value| interface.value_name(ty, contract.as_deref(), usize::from(value)));
        return meant(named);
    }
    match (param.name.as_str(), bits) {
        ("kinds", 32) => {
            meant(set(number, 32, |bit| Kind::try_from(bit).ok().map(|kind| kind.to_string())))
        }
        ("purposes", 16) => meant(set(number, 16, |bit| {
            Purpose::try_from(bit).ok().map(|purpose| purpose.to_string())
        })),
        ("kind", 8) => {
            meant(small.and_then(|kind| Kind::try_from(kind).ok()).map(|kind| kind.to_string()))
        }
        ("purpose", 8) => meant(
            small
                .and_then(|purpose| Purpose::try_from(purpose).ok())
                .map(|purpose| purpose.to_string()),
        ),
        ("month", 32) => meant(month(number)),
        // Types.sol: every time is a `uint40`. What is too small for one is a length of time.
        (_, 40) => match u64::try_from(number) {
            Ok(0) => meant(Some("never".into())),
            Ok(time) if time >= EARLIEST => Value::Time(Timestamp(time)),
            Ok(length) => meant(Some(length_of_time(length))),
            Err(_) => Value::Text(stored),
        },
        _ => Value::Text(stored),
    }
}

/// 1 January 2000: earlier numbers of seconds are lengths of time, not times.
const EARLIEST: u64 = 946_684_800;

fn set(number: U256, bits: u8, name: impl Fn(u8) -> Option<String>) -> Option<String> {
    let held = (0..bits).filter(|bit| number.bit(usize::from(*bit)));
    let names: Vec<String> =
        held.map(|bit| name(bit).unwrap_or_else(|| format!("number {bit}"))).collect();
    if names.is_empty() { Some("none".into()) } else { Some(names.join(", ")) }
}

/// 202001 as "2020-01".
fn month(number: U256) -> Option<String> {
    let number = u32::try_from(number).ok()?;
    let (year, month) = (number / 100, number % 100);
    let is_one = (2000..2200).contains(&year) && (1..=12).contains(&month);
    is_one.then(|| format!("{year}-{month:02}"))
}

fn length_of_time(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A word that is a short text, such as a contract's or a hospital's name, is that text; any other is bytes.
fn word_meaning(word: &[u8]) -> Value {
    let stored = hex::encode_prefixed(word);
    if word.iter().all(|byte| *byte == 0) {
        return Value::Meant { stored, means: "none".into() };
    }
    let text = word.iter().rposition(|byte| *byte != 0).map_or(&[][..], |last| &word[..=last]);
    let is_text = text.len() < word.len()
        && text.len() >= 3
        && text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match std::str::from_utf8(text) {
        Ok(text) if is_text => Value::Meant { stored, means: text.to_owned() },
        _ => Value::Bytes(stored, word.len()),
    }
}

fn bytes(content: &[u8]) -> Value {
    Value::Bytes(hex::encode_prefixed(content), content.len())
}

#[cfg(test)]
mod tests {
    use alloy_primitives::aliases::U40;
    use alloy_sol_types::{SolCall as _, SolEvent as _};
    use bindings::{Consents, Contract, WaitingLists};

    use super::*;

    fn deployment() -> Deployment {
        Deployment::by(Address::repeat_byte(1), 0)
    }

    fn grant() -> Consents::Grant {
        Consents::Grant {
            opensAt: U40::from(1_800_000_000_u64),
            closesAt: U40::from(1_900_000_000_u64),
            kinds: 0b100_0000_0000_0000_0010_0000,
            purposes: 1,
        }
    }

    #[test]
    fn a_grant_is_said_in_words() {
        let deployment = deployment();
        let reader = Address::repeat_byte(7);
        let input = Consents::grantCall { reader, record: B256::ZERO, terms: grant() }.abi_encode();
        let said = call(&deployment, Some(deployment.address(Contract::Consents)), &input);
        assert_eq!((said.contract, said.function.as_str()), (Some("Consents"), "grant"));
        assert!(said.sentence.unwrap().starts_with("Lets reader open"));
        assert_eq!(said.arguments[0].value, Value::Address(reader));
        assert!(matches!(&said.arguments[1].value, Value::Meant { means, .. } if means == "none"));
        let Value::Fields(terms) = &said.arguments[2].value else { panic!("{:?}", said.arguments) };
        assert_eq!(terms[0].value, Value::Time(Timestamp(1_800_000_000)));
        let means = |index: usize| match &terms[index].value {
            Value::Meant { means, .. } => means.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(means(2), "laboratory, administrative");
        assert_eq!(means(3), "treatment");
    }

    #[test]
    fn an_accounts_batch_is_said_call_by_call() {
        let deployment = deployment();
        let account = Address::repeat_byte(9);
        let revoke = Consents::revokeCall { reader: Address::repeat_byte(7), record: B256::ZERO }
            .abi_encode();
        let calls = vec![
            (deployment.address(Contract::Consents), U256::ZERO, Bytes::from(revoke)),
            (Address::ZERO, U256::ZERO, Bytes::from(vec![1, 2, 3, 4, 5])),
        ];
        let data = (calls, Bytes::new()).abi_encode_params();
        let input = PatientAccount::executeCall { mode: B256::ZERO, executionData: data.into() };
        let said = call(&deployment, Some(account), &input.abi_encode());
        assert_eq!((said.contract, said.function.as_str()), (Some(ACCOUNT), "execute"));
        assert_eq!(said.inner[0].function, "revoke");
        assert_eq!(said.inner[1].to, Some(account));
        assert_eq!(said.inner[1].function, "unknown call 0x01020304, 5 bytes");
    }

    #[test]
    fn an_event_is_said_in_words() {
        let deployment = deployment();
        let (patient, reader) = (Address::repeat_byte(8), Address::repeat_byte(7));
        let event_of = Consents::ConsentGranted {
            patient,
            reader,
            record: B256::ZERO,
            grant: grant(),
            version: 3,
        };
        let address = deployment.address(Contract::Consents);
        let said = event(&deployment, &Log { address, data: event_of.encode_log_data() });
        assert_eq!(said.name, "ConsentGranted");
        let names: Vec<&str> = said.arguments.iter().map(|argument| &*argument.name).collect();
        assert_eq!(names, ["patient", "reader", "record", "grant", "version"]);
        assert_eq!(said.arguments[4].value, Value::Text("3".into()));
        assert!(said.sentence.is_some());
    }

    #[test]
    fn what_is_unknown_is_shown_as_what_it_is() {
        let deployment = deployment();
        let registry = Some(deployment.address(Contract::Registry));
        let said = call(&deployment, registry, &[0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(said.contract, Some("Registry"));
        assert_eq!(
            (said.function.as_str(), said.is_known),
            ("unknown call 0xdeadbeef, 4 bytes", false)
        );
        assert_eq!(call(&deployment, None, &[0; 10]).function, "deploys a contract, 10 bytes");
        assert_eq!(call(&deployment, registry, &[]).function, "sends ether");
        let nothing = event(&deployment, &Log::default());
        assert!(nothing.name.starts_with("unknown event"));
    }

    #[test]
    fn names_in_words_and_months_are_read() {
        let deployment = deployment();
        let mut hospital = B256::ZERO;
        hospital[..4].copy_from_slice(b"0940");
        let input = WaitingLists::publishCensusCall {
            hospital,
            month: 202_001,
            root: B256::repeat_byte(0xaa),
            rows: 1,
            total: 3,
        }
        .abi_encode();
        let said = call(&deployment, Some(deployment.address(Contract::WaitingLists)), &input);
        let means = |index: usize| match &said.arguments[index].value {
            Value::Meant { means, .. } => means.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!((means(0), means(1)), ("0940".into(), "2020-01".into()));
        assert!(matches!(&said.arguments[2].value, Value::Bytes(_, 32)));
    }
}
