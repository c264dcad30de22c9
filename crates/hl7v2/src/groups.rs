//! The parts of an `ORU^R01`: the patient, and each examination with its observations and specimens.
//!
//! ```text
//! MSH [SFT…] PID [PD1] [NK1…] [NTE…] [PV1 [PV2]]
//!     { [ORC] OBR [NTE…] [TQ1…] [CTD] { OBX [NTE…] } [FT1…] [CTI…] { SPM { OBX } } }
//! ```
//!
//! # Source
//!
//! HL7 v2.5.1, section 7.3.1; versions before 2.5 have no `SPM`.

use crate::{
    error::{Code, Place, ReadError},
    message::{Message, Segment},
};

/// A segment, with the notes below it.
#[derive(Clone, Debug)]
pub(crate) struct Noted<'a> {
    pub(crate) segment: Segment<'a>,
    pub(crate) notes: Vec<Segment<'a>>,
}

/// One examination.
#[derive(Clone, Debug)]
pub(crate) struct Group<'a> {
    pub(crate) order: Option<Segment<'a>>,
    pub(crate) request: Noted<'a>,
    pub(crate) observations: Vec<Noted<'a>>,
    pub(crate) specimens: Vec<Noted<'a>>,
}

/// What a message is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) patient: Segment<'a>,
    pub(crate) visit: Option<Segment<'a>>,
    pub(crate) groups: Vec<Group<'a>>,
}

/// Where a note belongs.
#[derive(Clone, Copy)]
enum Last {
    Nowhere,
    Request,
    Observation,
    Specimen,
}

/// Takes a message apart. Segments of a site's own, and those that say nothing of a result, are passed over.
pub(crate) fn parts(message: &Message) -> Result<Parts<'_>, ReadError> {
    let (mut patient, mut visit, mut order, mut last) = (None, None, None, Last::Nowhere);
    let mut groups: Vec<Group<'_>> = Vec::new();
    for segment in message.segments().skip(1) {
        let refuse = |what| Err(ReadError::new(segment.place(), Code::Sequence, what));
        let noted = Noted { segment, notes: Vec::new() };
        match segment.name() {
            "PID" if patient.is_some() => return refuse("is about a second patient"),
            "PID" if !groups.is_empty() => return refuse("comes after results"),
            "PID" => patient = Some(segment),
            "PV1" if visit.is_none() => visit = Some(segment),
            "ORC" => (order, last) = (Some(segment), Last::Nowhere),
            "OBR" => {
                let order = order.take();
                let (observations, specimens) = (Vec::new(), Vec::new());
                groups.push(Group { order, request: noted, observations, specimens });
                last = Last::Request;
            }
            "OBX" | "SPM" => {
                // Between an order and its examination there is nothing to observe.
                let Some(group) = groups.last_mut().filter(|_| order.is_none()) else {
                    return refuse("comes before an OBR");
                };
                if segment.name() == "OBX" {
                    group.observations.push(noted);
                    last = Last::Observation;
                } else {
                    group.specimens.push(noted);
                    last = Last::Specimen;
                }
            }
            "NTE" => {
                if let Some(group) = groups.last_mut() {
                    let noted = match last {
                        Last::Nowhere => None,
                        Last::Request => Some(&mut group.request),
                        Last::Observation => group.observations.last_mut(),
                        Last::Specimen => group.specimens.last_mut(),
                    };
                    if let Some(noted) = noted {
                        noted.notes.push(segment);
                    }
                }
            }
            // The rest of the message is in another.
            "DSC" => return refuse("says that the message goes on elsewhere, which is not read"),
            _ => {}
        }
    }
    let missing = |name| ReadError::new(Place::missing(name), Code::Sequence, "is missing");
    if groups.is_empty() {
        return Err(missing("OBR"));
    }
    Ok(Parts { patient: patient.ok_or_else(|| missing("PID"))?, visit, groups })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(rest: &str) -> Message {
        Message::parse(format!("MSH|^~\\&|A|B|C|D|1||ORU^R01|1|P|2.5.1\r{rest}").as_bytes())
            .unwrap()
    }

    #[track_caller]
    fn refused(rest: &str, expected: &str) {
        assert_eq!(parts(&message(rest)).unwrap_err().to_string(), expected);
    }

    #[test]
    fn notes_belong_to_what_they_follow() {
        let text = "PID|1\rNTE|1\rPV1|1\rORC|RE\rOBR|1\rNTE|1\rOBX|1\rNTE|1\rNTE|2\rZZZ|1\rSPM|1\rOBX|2\r\
                    OBR|2\rOBX|1";
        let message = message(text);
        let parts = parts(&message).unwrap();
        assert!(parts.visit.is_some());
        let [first, second] = &parts.groups[..] else { panic!("{parts:?}") };
        assert!(first.order.is_some() && second.order.is_none());
        assert_eq!(first.request.notes.len(), 1);
        let notes: Vec<_> = first.observations.iter().map(|one| one.notes.len()).collect();
        assert_eq!((notes, first.specimens.len()), (vec![2, 0], 1));
        assert_eq!(second.observations.len(), 1);
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        refused("OBR|1", "PID is missing");
        refused("PID|1", "OBR is missing");
        refused("PID|1\rOBX|1", "OBX[1] comes before an OBR");
        refused("PID|1\rOBR|1\rORC|RE\rOBX|1", "OBX[1] comes before an OBR");
        refused("PID|1\rPID|2", "PID[2] is about a second patient");
        refused("OBR|1\rPID|1", "PID[1] comes after results");
        refused(
            "PID|1\rOBR|1\rDSC|x",
            "DSC[1] says that the message goes on elsewhere, which is not read",
        );
    }
}
