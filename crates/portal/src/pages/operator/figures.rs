//! The gateway's figures as people read them: Prometheus's text form, in plain tables.

/// A figure with what it counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Figure {
    /// Its name, as Prometheus has it.
    pub(crate) name: String,
    /// What it counts, in words.
    pub(crate) about: String,
    /// Its values by label, such as one for each route. Labels that say which gateway it is are left out.
    pub(crate) values: Vec<(String, f64)>,
}

/// How a route fared.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Route {
    pub(crate) method: String,
    pub(crate) route: String,
    pub(crate) count: f64,
    /// How many of them ended with an error of the gateway's own.
    pub(crate) failed: f64,
    /// How long they took on average, in milliseconds.
    pub(crate) mean_ms: Option<f64>,
}

struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, String)>,
    value: f64,
}

impl Sample<'_> {
    fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// Reads one line of samples.
///
/// # Source
///
/// Prometheus's text format 0.0.4.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (name, rest) = match line.find('{') {
        Some(at) => (&line[..at], &line[at + 1..]),
        None => {
            let (name, value) = line.split_once(' ')?;
            return Some(Sample { name, labels: Vec::new(), value: value.trim().parse().ok()? });
        }
    };
    let mut labels = Vec::new();
    let mut rest = rest;
    while !rest.starts_with('}') {
        let (label, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next()? {
                (at, '"') => break at,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.push((label.trim_start_matches([',', ' ']), value));
        rest = &after[end + 1..];
    }
    Some(Sample { name, labels, value: rest[1..].trim().split(' ').next()?.parse().ok()? })
}

/// The figures that are no times of requests.
pub(crate) fn figures(text: &str) -> Vec<Figure> {
    let mut found: Vec<Figure> = Vec::new();
    let mut abouts: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            abouts.extend(help.split_once(' '));
            continue;
        }
        let Some(sample) = sample(line).filter(|_| !line.starts_with('#')) else { continue };
        if sample.name.starts_with("salus_http_") {
            continue;
        }
        let labels: Vec<String> = sample
            .labels
            .iter()
            .filter(|(name, _)| *name != "gateway")
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let value = (labels.join(", "), sample.value);
        match found.iter_mut().find(|figure| figure.name == sample.name) {
            Some(figure) => figure.values.push(value),
            None => found.push(Figure {
                name: sample.name.to_owned(),
                about: String::new(),
                values: vec![value],
            }),
        }
    }
    for figure in &mut found {
        let about = abouts.iter().find(|(name, _)| *name == figure.name);
        figure.about = about.map_or_else(|| figure.name.clone(), |(_, about)| (*about).to_owned());
    }
    found
}

/// How each route fared, those that were asked most first.
pub(crate) fn routes(text: &str) -> Vec<Route> {
    let mut found: Vec<Route> = Vec::new();
    let mut times: Vec<(String, String, f64, f64)> = Vec::new();
    for sample in text.lines().filter(|line| !line.starts_with('#')).filter_map(sample) {
        let (method, route) = (sample.label("method").to_owned(), sample.label("route").to_owned());
        match sample.name {
            "salus_http_requests_total" => {
                let failed =
                    if sample.label("status").starts_with('5') { sample.value } else { 0.0 };
                match found
                    .iter_mut()
                    .find(|known| (&known.method, &known.route) == (&method, &route))
                {
                    Some(known) => {
                        known.count += sample.value;
                        known.failed += failed;
                    }
                    None => found.push(Route {
                        method,
                        route,
                        count: sample.value,
                        failed,
                        mean_ms: None,
                    }),
                }
            }
            "salus_http_request_duration_seconds_sum" => {
                times.push((method, route, sample.value, 0.0))
            }
            "salus_http_request_duration_seconds_count" => {
                times.push((method, route, 0.0, sample.value))
            }
            _ => {}
        }
    }
    for route in &mut found {
        let of_route = times
            .iter()
            .filter(|(method, path, ..)| (method, path) == (&route.method, &route.route));
        let (sum, count) = of_route
            .fold((0.0, 0.0), |(sum, count), (_, _, more, times)| (sum + more, count + times));
        route.mean_ms = (count > 0.0).then(|| sum / count * 1_000.0);
    }
    found.sort_by(|one, other| other.count.total_cmp(&one.count));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP salus_records Versions of records in the vault\n# TYPE salus_records gauge\n\
        salus_records{gateway=\"hospital\"} 12\n\n\
        # TYPE salus_http_requests_total counter\n\
        salus_http_requests_total{gateway=\"hospital\",method=\"GET\",route=\"/fhir/{type}\",status=\"200\"} 8\n\
        salus_http_requests_total{gateway=\"hospital\",method=\"GET\",route=\"/fhir/{type}\",status=\"503\"} 2\n\
        salus_http_requests_total{gateway=\"hospital\",method=\"GET\",route=\"/a\\\"b\",status=\"200\"} 1\n\
        salus_http_request_duration_seconds_bucket{gateway=\"hospital\",method=\"GET\",route=\"/fhir/{type}\",le=\"1\"} 10\n\
        salus_http_request_duration_seconds_sum{gateway=\"hospital\",method=\"GET\",route=\"/fhir/{type}\"} 0.05\n\
        salus_http_request_duration_seconds_count{gateway=\"hospital\",method=\"GET\",route=\"/fhir/{type}\"} 10\n\
        broken{ 7\nplain 3.5\n";

    #[test]
    fn figures_of_one_gateway_are_read() {
        let found = figures(TEXT);
        assert_eq!(found[0].about, "Versions of records in the vault");
        assert_eq!(found[0].values, [(String::new(), 12.0)]);
        assert_eq!((found[1].name.as_str(), found[1].values[0].1), ("plain", 3.5));
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn routes_are_added_up() {
        let found = routes(TEXT);
        assert_eq!(
            (found[0].route.as_str(), found[0].count, found[0].failed),
            ("/fhir/{type}", 10.0, 2.0)
        );
        assert_eq!(found[0].mean_ms, Some(5.0));
        assert_eq!((found[1].route.as_str(), found[1].mean_ms), ("/a\"b", None));
    }
}
