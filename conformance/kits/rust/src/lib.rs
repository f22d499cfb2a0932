//! The line protocol of conformance/SPEC.md; std only.
//!
//! An engine is a function of a [`Case`] that returns its outputs, as bytes by name.

pub mod json;

use json::{quoted, Json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

/// An array: little-endian bytes in C order; those of an output are empty.
pub struct Array {
    pub dtype: String,
    pub shape: Vec<usize>,
    pub data: Vec<u8>,
}

/// What is asked.
pub struct Case {
    pub op: String,
    pub params: Json,
    pub inputs: BTreeMap<String, Array>,
    pub outputs: BTreeMap<String, Array>,
}

impl Case {
    /// A parameter that is a text, or an empty text.
    pub fn param(&self, key: &str) -> &str {
        self.params.get(key).and_then(Json::text).unwrap_or("")
    }
}

/// Why a case has no outputs.
pub enum Refusal {
    /// The engine does not know it.
    Unsupported,
    /// The input breaks a rule; the text is its code.
    Rejected(String),
    Error(String),
}

pub type Outputs = BTreeMap<String, Vec<u8>>;

fn broken(what: impl ToString) -> Refusal {
    Refusal::Error(what.to_string())
}

fn array(place: &Json) -> Option<(String, Array)> {
    let shape = place.get("shape")?.list()?.iter();
    let shape = shape.map(|n| n.integer()?.try_into().ok()).collect::<Option<_>>()?;
    let dtype = place.get("dtype")?.text()?.to_string();
    Some((place.get("name")?.text()?.to_string(), Array { dtype, shape, data: Vec::new() }))
}

fn path(place: &Json) -> Option<&str> {
    place.get("path")?.text()
}

fn load(place: &Json) -> Option<io::Result<Vec<u8>>> {
    let (off, len) = (place.get("off")?.integer()?, place.get("len")?.integer()?);
    let mut data = vec![0; usize::try_from(len).ok()?];
    Some(File::open(path(place)?).and_then(|mut file| {
        file.seek(SeekFrom::Start(off as u64))?;
        file.read_exact(&mut data)?;
        Ok(data)
    }))
}

fn case(message: &Json) -> Option<io::Result<Case>> {
    let mut inputs = BTreeMap::new();
    for place in message.get("in")?.list()? {
        let (name, mut one) = array(place)?;
        match load(place)? {
            Ok(data) => one.data = data,
            Err(error) => return Some(Err(error)),
        }
        inputs.insert(name, one);
    }
    let outputs = message.get("out")?.list()?.iter().map(array).collect::<Option<_>>()?;
    let op = message.get("op")?.text()?.to_string();
    Some(Ok(Case { op, params: message.get("params")?.clone(), inputs, outputs }))
}

fn answer<F>(message: &Json, run: &mut F) -> Result<(), Refusal>
where
    F: FnMut(&Case) -> Result<Outputs, Refusal>,
{
    let unreadable = || broken("the request cannot be read");
    let case = case(message).ok_or_else(unreadable)?.map_err(broken)?;
    let written = run(&case)?;
    for place in message.get("out").and_then(Json::list).ok_or_else(unreadable)? {
        let name = place.get("name").and_then(Json::text).ok_or_else(unreadable)?;
        let data = written.get(name).ok_or_else(|| broken(format!("no output {name}")))?;
        fs::write(path(place).ok_or_else(unreadable)?, data).map_err(broken)?;
    }
    Ok(())
}

fn said(outcome: Result<(), Refusal>) -> String {
    match outcome {
        Ok(()) => "\"outcome\": \"ok\"".into(),
        Err(Refusal::Unsupported) => "\"outcome\": \"unsupported\"".into(),
        Err(Refusal::Rejected(code)) => {
            format!("\"outcome\": \"rejected\", \"code\": {}", quoted(&code))
        }
        Err(Refusal::Error(text)) => {
            format!("\"outcome\": \"error\", \"detail\": {}", quoted(&text))
        }
    }
}

/// Answer requests on standard input until `bye`.
pub fn serve<F>(name: &str, features: &[&str], mut run: F) -> io::Result<()>
where
    F: FnMut(&Case) -> Result<Outputs, Refusal>,
{
    let features: Vec<String> = features.iter().map(|one| quoted(one)).collect();
    for line in io::stdin().lock().lines() {
        let message = Json::parse(&line?).unwrap_or(Json::Null);
        let seq = message.get("seq").and_then(Json::integer).unwrap_or(-1);
        let text = match message.get("cmd").and_then(Json::text) {
            Some("bye") => break,
            Some("hello") => format!(
                "\"engine\": {{\"name\": {}, \"language\": \"Rust\"}}, \"features\": [{}]",
                quoted(name),
                features.join(", ")
            ),
            Some("run") => format!("\"seq\": {seq}, {}", said(answer(&message, &mut run))),
            _ => format!("\"seq\": {seq}, {}", said(Err(Refusal::Unsupported))),
        };
        println!("@rq {{{text}}}");
        io::stdout().flush()?;
    }
    Ok(())
}
