//! The fields of one table of a description, taken out one by one, with the line of each for errors.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::DescribeError;
use crate::suggest;

/// A table whose fields are read by name; what is left at the end is unknown.
pub(super) struct Fields<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    /// The line of its header.
    pub(super) line: usize,
    /// The layer it describes, once that is known.
    pub(super) layer: Option<String>,
    /// What the table is, for errors.
    pub(super) what: String,
    asked: Vec<&'static str>,
}

/// The line of a place in a text, from 1.
pub(super) fn line_of(text: &str, place: usize) -> usize {
    text.bytes().take(place).filter(|&byte| byte == b'\n').count() + 1
}

impl<'a> Fields<'a> {
    pub(super) fn new(text: &'a str, table: &'a DeTable<'a>, line: usize, what: &str) -> Self {
        Self { text, table, line, layer: None, what: what.to_owned(), asked: Vec::new() }
    }

    /// An error about the whole table.
    pub(super) fn refuse(&self, reason: impl Into<String>) -> DescribeError {
        self.refuse_at(self.line, reason)
    }

    fn refuse_at(&self, line: usize, reason: impl Into<String>) -> DescribeError {
        DescribeError { line, layer: self.layer.clone(), reason: reason.into() }
    }

    /// An error about one value.
    pub(super) fn refuse_value(&self, value: &Spanned<DeValue<'_>>, reason: impl Into<String>) -> DescribeError {
        self.refuse_at(line_of(self.text, value.span().start), reason)
    }

    /// The value of a field, if it is there.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.asked.push(name);
        self.table.iter().find(|(key, _)| key.get_ref().as_ref() == name).map(|(_, value)| value)
    }

    /// An error if a field is missing.
    pub(super) fn need<T>(&self, name: &str, value: Option<T>) -> Result<T, DescribeError> {
        value.ok_or_else(|| self.refuse(format!("{} needs the field {name}", self.what)))
    }

    pub(super) fn string(&mut self, name: &'static str) -> Result<Option<&'a str>, DescribeError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.get_ref().as_str().map(Some).ok_or_else(|| self.other_type(value, name, "a string"))
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<Option<bool>, DescribeError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.get_ref().as_bool().map(Some).ok_or_else(|| self.other_type(value, name, "true or false"))
    }

    pub(super) fn number(&mut self, name: &'static str) -> Result<Option<usize>, DescribeError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        whole(value).map(Some).ok_or_else(|| self.other_type(value, name, "a whole number"))
    }

    pub(super) fn real(&mut self, name: &'static str) -> Result<Option<f64>, DescribeError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value.get_ref().as_float().and_then(|float| float.as_str().parse().ok());
        number.map(Some).ok_or_else(|| self.other_type(value, name, "a number such as 1e-5"))
    }

    /// So many whole numbers.
    pub(super) fn numbers<const N: usize>(&mut self, name: &'static str) -> Result<Option<[usize; N]>, DescribeError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let list: Option<Vec<usize>> = value.get_ref().as_array().and_then(|list| list.iter().map(whole).collect());
        let numbers = list.and_then(|list| list.try_into().ok());
        numbers.map(Some).ok_or_else(|| self.other_type(value, name, &format!("a list of {N} whole numbers")))
    }

    /// Rows and columns: one number for both, or a list of two.
    pub(super) fn pair(&mut self, name: &'static str) -> Result<Option<(usize, usize)>, DescribeError> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let both = whole(value).map(|number| (number, number));
        let each = value.get_ref().as_array().and_then(|list| match list.iter().map(whole).collect::<Vec<_>>()[..] {
            [Some(rows), Some(columns)] => Some((rows, columns)),
            _ => None,
        });
        let wanted = "a whole number, or two as in [rows, columns]";
        both.or(each).map(Some).ok_or_else(|| self.other_type(value, name, wanted))
    }

    fn other_type(&self, value: &Spanned<DeValue<'_>>, name: &str, wanted: &str) -> DescribeError {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "this number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "this list",
            DeValue::Table(_) => "a table",
        };
        self.refuse_value(value, format!("{name} must be {wanted}, not {found}"))
    }

    /// Refuses fields that nobody has asked for.
    pub(super) fn end(&self) -> Result<(), DescribeError> {
        let unknown = self.table.keys().filter(|key| !self.asked.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else { return Ok(()) };
        let (name, fields) = (key.get_ref(), self.asked.join(", "));
        let hint = suggest::hint(name, &self.asked);
        let reason = format!("{} has no field {name:?}{hint}; its fields are {fields}", self.what);
        Err(self.refuse_at(line_of(self.text, key.span().start), reason))
    }
}

/// A number that is whole and not negative.
fn whole(value: &Spanned<DeValue<'_>>) -> Option<usize> {
    let integer = value.get_ref().as_integer()?;
    usize::from_str_radix(integer.as_str(), integer.radix()).ok()
}
