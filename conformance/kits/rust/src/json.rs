//! As much JSON as the protocol uses: no floats, integers in an i64.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    pub fn parse(text: &str) -> Option<Json> {
        let mut reader = Reader { bytes: text.as_bytes(), at: 0 };
        let value = reader.value(0)?;
        reader.blank();
        (reader.at == reader.bytes.len()).then_some(value)
    }

    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Json::Object(entries) => entries.get(key),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Json::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub fn list(&self) -> Option<&[Json]> {
        match self {
            Json::List(items) => Some(items),
            _ => None,
        }
    }
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut to = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => to.extend(['\\', c]),
            c if (c as u32) < 32 => to += &format!("\\u{:04x}", c as u32),
            c => to.push(c),
        }
    }
    to + "\""
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn blank(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> Option<()> {
        self.blank();
        let found = self.bytes[self.at..].starts_with(word.as_bytes());
        found.then(|| self.at += word.len())
    }

    fn value(&mut self, depth: u32) -> Option<Json> {
        self.blank();
        match *self.bytes.get(self.at)? {
            _ if depth > 64 => None,
            b'"' => self.string().map(Json::Text),
            b'[' => self.list(depth),
            b'{' => self.object(depth),
            b't' => self.take("true").map(|()| Json::Bool(true)),
            b'f' => self.take("false").map(|()| Json::Bool(false)),
            b'n' => self.take("null").map(|()| Json::Null),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Json> {
        let rest = &self.bytes[self.at..];
        let size = rest.iter().take_while(|c| c.is_ascii_digit() || **c == b'-').count();
        self.at += size;
        std::str::from_utf8(&rest[..size]).ok()?.parse().ok().map(Json::Integer)
    }

    fn list(&mut self, depth: u32) -> Option<Json> {
        let mut items = Vec::new();
        self.take("[")?;
        if self.take("]").is_some() {
            return Some(Json::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take("]").is_some() {
                return Some(Json::List(items));
            }
            self.take(",")?;
        }
    }

    fn object(&mut self, depth: u32) -> Option<Json> {
        let mut entries = BTreeMap::new();
        self.take("{")?;
        if self.take("}").is_some() {
            return Some(Json::Object(entries));
        }
        loop {
            self.blank();
            let key = self.string()?;
            self.take(":")?;
            entries.insert(key, self.value(depth + 1)?);
            if self.take("}").is_some() {
                return Some(Json::Object(entries));
            }
            self.take(",")?;
        }
    }

    fn hex4(&mut self) -> Option<u16> {
        let digits = std::str::from_utf8(self.bytes.get(self.at..self.at + 4)?).ok()?;
        self.at += 4;
        u16::from_str_radix(digits, 16).ok()
    }

    fn escape(&mut self) -> Option<char> {
        self.at += 1;
        Some(match self.bytes.get(self.at - 1)? {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let mut units = vec![self.hex4()?];
                if units[0] >> 10 == 0x36 {
                    self.take("\\u")?;
                    units.push(self.hex4()?);
                }
                String::from_utf16(&units).ok()?.chars().next()?
            }
            other => *other as char,
        })
    }

    fn string(&mut self) -> Option<String> {
        self.take("\"")?;
        let mut to = Vec::new();
        loop {
            let c = *self.bytes.get(self.at)?;
            self.at += 1;
            match c {
                b'"' => return String::from_utf8(to).ok(),
                b'\\' => to.extend(self.escape()?.encode_utf8(&mut [0; 4]).bytes()),
                c => to.push(c),
            }
        }
    }
}
