//! The walk over a resource.

use std::fmt;

use serde_json::{Map, Value};

use crate::{
    DEPTH_MAX, ISSUES_MAX, Issue, IssueCode, Severity,
    narrative::NarrativeFault,
    path::Path,
    primitive::{Primitive, PrimitiveFault, is_id},
    rules::Scope,
    schema::{Element, Kind, Node, Schema, ValueSet, schema},
};

/// A JSON object.
pub(crate) type Object = Map<String, Value>;

/// Looks at a resource.
pub(crate) fn validate(resource: &Value) -> Vec<Issue> {
    let schema = schema();
    let name = resource["resourceType"].as_str().and_then(|name| schema.resource(name));
    let name = name.map_or("Resource", |node| &node.name);
    let mut walk = Walk { schema, issues: Vec::new() };
    walk.resource(resource, &Path::root(name), None);
    walk.issues
}

struct Walk {
    schema: &'static Schema,
    issues: Vec<Issue>,
}

impl Walk {
    fn report(&mut self, code: IssueCode, at: &Path<'_>, message: impl fmt::Display) {
        self.report_as(Severity::Error, code, at, message);
    }

    fn report_as(
        &mut self,
        severity: Severity,
        code: IssueCode,
        at: &Path<'_>,
        message: impl fmt::Display,
    ) {
        if !self.is_full() {
            let (expression, message) = (at.to_string(), message.to_string());
            self.issues.push(Issue { severity, code, expression, message });
        }
    }

    fn is_full(&self) -> bool {
        self.issues.len() >= ISSUES_MAX
    }

    /// A resource; `holder` is what a contained one stands in.
    fn resource(&mut self, value: &Value, at: &Path<'_>, holder: Option<&Scope<'_>>) {
        let Value::Object(object) = value else {
            return self.report(IssueCode::Structure, at, "a resource is a JSON object");
        };
        let at_type = at.name("resourceType");
        let node = match object.get("resourceType") {
            None => return self.report(IssueCode::Required, &at_type, "the type is missing"),
            Some(name) => name.as_str().and_then(|name| self.schema.resource(name)),
        };
        let Some(node) = node else {
            return self.report(IssueCode::Structure, &at_type, "R4 has no such resource");
        };
        let scope = match holder {
            Some(holder) => holder.inside(),
            None => Scope::of(object),
        };
        self.members(node, object, at, &scope, true);
        self.rules(node, object, at, &scope);
    }

    /// An element that holds others.
    fn object(&mut self, node: &Node, value: &Value, at: &Path<'_>, scope: &Scope<'_>) {
        let Value::Object(object) = value else {
            return self.report(IssueCode::Structure, at, "a JSON object is expected");
        };
        if object.is_empty() {
            return self.report(IssueCode::Structure, at, "an object must not be empty");
        }
        if at.depth() > DEPTH_MAX {
            let message =
                format!("nested deeper than {DEPTH_MAX}; what is inside was not looked at");
            return self.report(IssueCode::TooCostly, at, message);
        }
        if object.len() == 1 && object.contains_key("id") {
            self.report(
                IssueCode::Invariant,
                at,
                "ele-1: an element has a value or children besides its id",
            );
        }
        self.members(node, object, at, scope, false);
        self.rules(node, object, at, scope);
    }

    fn members(
        &mut self,
        node: &Node,
        object: &Object,
        at: &Path<'_>,
        scope: &Scope<'_>,
        is_resource: bool,
    ) {
        let mut seen = 0_u128;
        for (key, value) in object {
            if self.is_full() {
                return;
            }
            if is_resource && key == "resourceType" {
                continue;
            }
            let (name, is_beside) =
                key.strip_prefix('_').map_or((&**key, false), |name| (name, true));
            let property = node
                .property(name)
                .filter(|property| !is_beside || matches!(property.kind, Kind::Primitive(_)));
            let Some(property) = property else {
                let message = format_args!("{} has no such element", node.name);
                self.report(IssueCode::Structure, &at.name(key), message);
                continue;
            };
            let element = &node.elements[property.element];
            // A primitive and what stands beside it are one.
            if !is_beside || !object.contains_key(name) {
                let bit = 1 << property.element;
                if seen & bit != 0 {
                    let message = format_args!("only one {} is allowed", element.name);
                    self.report(IssueCode::Structure, &at.name(element.plain_name()), message);
                }
                seen |= bit;
            }
            let at = at.name(name);
            if is_beside {
                self.beside(element, value, object.get(name), &at, scope);
            } else {
                let beside = || object.get(&format!("_{name}"));
                self.element(element, property.kind, value, beside, &at, scope);
            }
        }
        let missing = node.required & !seen;
        if missing != 0 {
            let elements = node.elements.iter().enumerate();
            for (_, element) in elements.filter(|(number, _)| missing & (1 << number) != 0) {
                let at = at.name(element.plain_name());
                self.report(IssueCode::Required, &at, "a required element is missing");
            }
        }
    }

    /// One property: a single value or a list, as its element says.
    fn element<'v>(
        &mut self,
        element: &Element,
        kind: Kind,
        value: &'v Value,
        beside: impl Fn() -> Option<&'v Value>,
        at: &Path<'_>,
        scope: &Scope<'_>,
    ) {
        match value {
            Value::Array(_) if !element.many => {
                self.report(IssueCode::Structure, at, "a single value is expected, not a list");
            }
            Value::Array(items) if items.is_empty() => {
                self.report(IssueCode::Structure, at, "a list must not be empty");
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    if self.is_full() {
                        return;
                    }
                    let is_beside = item.is_null()
                        && matches!(kind, Kind::Primitive(_))
                        && beside().is_some_and(|beside| beside[index].is_object());
                    if !is_beside {
                        self.value(element, kind, item, &at.index(index), scope);
                    }
                }
            }
            _ if element.many => self.report(IssueCode::Structure, at, "a list is expected"),
            _ => self.value(element, kind, value, at, scope),
        }
    }

    fn value(
        &mut self,
        element: &Element,
        kind: Kind,
        value: &Value,
        at: &Path<'_>,
        scope: &Scope<'_>,
    ) {
        if value.is_null() {
            let message =
                "null may only stand in a list of primitives, for one that has extensions only";
            return self.report(IssueCode::Structure, at, message);
        }
        match kind {
            Kind::Primitive(primitive) => {
                self.primitive(primitive, value, at);
                if let (Some(url), Value::String(code)) = (&element.codes, value) {
                    self.binding(url, at, |set| set.has_code(code));
                }
            }
            Kind::Node(number) => {
                let node = self.schema.node(number);
                self.object(node, value, at, scope);
                match &*node.name {
                    "Reference" => self.target(element, value, at, scope),
                    "Coding" | "CodeableConcept" => {
                        if let Some(url) = &element.codes {
                            self.binding(url, at, |set| is_in(set, value));
                        }
                    }
                    _ => {}
                }
            }
            Kind::Resource if at.depth() > DEPTH_MAX => {
                self.report(
                    IssueCode::TooCostly,
                    at,
                    format_args!("nested deeper than {DEPTH_MAX}"),
                );
            }
            Kind::Resource => {
                let is_contained = &*element.name == "contained";
                self.resource(value, at, is_contained.then_some(scope));
            }
        }
    }

    fn primitive(&mut self, primitive: Primitive, value: &Value, at: &Path<'_>) {
        let name = primitive.name();
        match primitive.check(value) {
            Ok(()) => {}
            Err(PrimitiveFault::Json(json)) => {
                self.report(
                    IssueCode::Structure,
                    at,
                    format_args!("{json} is expected, for a {name}"),
                );
            }
            Err(PrimitiveFault::Form) => {
                self.report(
                    IssueCode::Value,
                    at,
                    format_args!("is not written as a {name} must be"),
                );
            }
            Err(PrimitiveFault::Narrative(NarrativeFault::NoDiv)) => {
                self.report(IssueCode::Value, at, "a narrative is one XHTML div");
            }
            Err(PrimitiveFault::Narrative(NarrativeFault::Forbidden)) => {
                let message =
                    "txt-1: a narrative has basic formatting only, nothing that runs or loads";
                self.report(IssueCode::Invariant, at, message);
            }
            Err(PrimitiveFault::Narrative(NarrativeFault::Empty)) => {
                self.report(IssueCode::Invariant, at, "txt-2: a narrative says something");
            }
        }
    }

    /// What stands beside a primitive, under its name with an underscore.
    fn beside(
        &mut self,
        element: &Element,
        value: &Value,
        primitive: Option<&Value>,
        at: &Path<'_>,
        scope: &Scope<'_>,
    ) {
        let node = self.schema.beside_primitive();
        match value {
            Value::Array(items) if element.many => {
                let values = primitive.and_then(Value::as_array);
                if items.is_empty() || values.is_some_and(|values| values.len() != items.len()) {
                    let message = "the list beside a list of primitives must be as long";
                    return self.report(IssueCode::Structure, at, message);
                }
                for (index, item) in items.iter().enumerate() {
                    let has_value = values.is_some_and(|values| !values[index].is_null());
                    if !(item.is_null() && has_value) {
                        self.object(node, item, &at.index(index), scope);
                    }
                }
            }
            Value::Array(_) => {
                self.report(IssueCode::Structure, at, "beside a single primitive stands an object");
            }
            _ if element.many => {
                self.report(IssueCode::Structure, at, "beside a list of primitives stands a list");
            }
            _ => self.object(node, value, at, scope),
        }
    }

    fn binding(&mut self, url: &str, at: &Path<'_>, is_in: impl Fn(&ValueSet) -> bool) {
        if self.schema.value_set(url).is_some_and(|set| !is_in(set)) {
            self.report(IssueCode::CodeInvalid, at, format_args!("a code of {url} is required"));
        }
    }

    /// Where a reference points, as far as its text says it.
    fn target(&mut self, element: &Element, value: &Value, at: &Path<'_>, scope: &Scope<'_>) {
        let Some(reference) = value["reference"].as_str() else { return };
        let target = match reference.strip_prefix('#') {
            Some(id) => {
                scope.contained(id).and_then(|contained| contained["resourceType"].as_str())
            }
            None => literal_type(reference),
        };
        let Some(target) = target else { return };
        let at = at.name("reference");
        if self.schema.resource(target).is_none() {
            self.report(IssueCode::Value, &at, "a reference names a resource of R4");
        } else if !element.targets.is_empty()
            && !element.targets.iter().any(|allowed| **allowed == *target)
        {
            let allowed = element.targets.join(", ");
            self.report(IssueCode::Value, &at, format_args!("may only point to: {allowed}"));
        }
    }

    fn rules(&mut self, node: &Node, object: &Object, at: &Path<'_>, scope: &Scope<'_>) {
        for rule in &node.rules {
            if !(rule.holds)(object, scope) {
                let message = format_args!("{}: {}", rule.key, rule.text);
                self.report_as(rule.severity, IssueCode::Invariant, at, message);
            }
        }
    }
}

/// The type in `Type/id`, `Type/id/_history/version` or `Type?query`; nothing for other references.
fn literal_type(reference: &str) -> Option<&str> {
    let is_type = |name: &&str| {
        name.starts_with(|first: char| first.is_ascii_uppercase())
            && name.bytes().all(|byte| byte.is_ascii_alphabetic())
    };
    if let Some((name, _)) = reference.split_once('?') {
        return Some(name).filter(is_type);
    }
    let mut parts = reference.split('/');
    let name = parts.next().filter(is_type)?;
    let id = parts.next()?;
    let is_version = match parts.next() {
        None => true,
        Some(history) => {
            history == "_history" && parts.next().is_some_and(is_id) && parts.next().is_none()
        }
    };
    (is_id(id) && is_version).then_some(name)
}

/// Whether a Coding, or one of a CodeableConcept, is in a value set. What only has an extension says why
/// there is no code, and passes.
fn is_in(set: &ValueSet, value: &Value) -> bool {
    let is_coding_in = |coding: &Value| match (coding["system"].as_str(), coding["code"].as_str()) {
        (Some(system), Some(code)) => set.has_coding(system, code),
        _ => false,
    };
    match &value["coding"] {
        Value::Array(codings) => codings.iter().any(is_coding_in),
        _ => is_coding_in(value) || (value["code"].is_null() && value["extension"].is_array()),
    }
}
