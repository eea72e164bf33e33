//! The rules as a record.

use flotilla_base::{
    KeyRange,
    codec::{CodecError, RecordReader, RecordWriter},
};

use super::{LabelConstraint, LabelOp, RULES_MAX, Role, Rule, RuleBook, RuleGroup};
use crate::meta::read_text;

impl RuleBook {
    pub(crate) fn write(&self, writer: &mut RecordWriter) {
        writer.number(self.revision()).number(self.groups().len() as u64);
        for group in self.groups() {
            writer.bytes(group.id.as_bytes()).number(group.index.into());
            writer.byte(group.is_override.into());
        }
        writer.number(self.rules().len() as u64);
        self.rules().iter().for_each(|rule| rule.write(writer));
    }

    pub(crate) fn read(reader: &mut RecordReader) -> Result<Self, CodecError> {
        let revision = reader.number()?;
        let groups = read_list(reader, |reader| {
            Ok(RuleGroup {
                id: read_text(reader)?,
                index: read_small(reader)?,
                is_override: read_flag(reader)?,
            })
        })?;
        let rules = read_list(reader, Rule::read)?;
        Ok(Self::new(revision, groups, rules))
    }
}

impl Rule {
    fn write(&self, writer: &mut RecordWriter) {
        writer.bytes(self.group_id.as_bytes()).bytes(self.id.as_bytes());
        writer.number(self.index.into()).byte(self.is_override.into());
        writer.bytes(&self.range.start).bytes(&self.range.end);
        writer.byte(self.role as u8).number(self.count.into());
        writer.number(self.constraints.len() as u64);
        for constraint in &self.constraints {
            writer.bytes(constraint.key.as_bytes()).byte(constraint.op as u8);
            write_texts(&constraint.values, writer);
        }
        write_texts(&self.location_labels, writer);
        writer.bytes(self.isolation_level.as_bytes());
    }

    fn read(reader: &mut RecordReader) -> Result<Self, CodecError> {
        Ok(Self {
            group_id: read_text(reader)?,
            id: read_text(reader)?,
            index: read_small(reader)?,
            is_override: read_flag(reader)?,
            range: KeyRange::new(reader.bytes()?, reader.bytes()?),
            role: read_tag(reader, &Role::ALL, "role")?,
            count: read_small(reader)?,
            constraints: read_list(reader, |reader| {
                Ok(LabelConstraint {
                    key: read_text(reader)?,
                    op: read_tag(reader, &LabelOp::ALL, "constraint")?,
                    values: read_list(reader, read_text)?,
                })
            })?,
            location_labels: read_list(reader, read_text)?,
            isolation_level: read_text(reader)?,
        })
    }
}

fn write_texts(texts: &[String], writer: &mut RecordWriter) {
    writer.number(texts.len() as u64);
    for text in texts {
        writer.bytes(text.as_bytes());
    }
}

/// Nothing here is longer than the rules are many.
fn read_list<T>(
    reader: &mut RecordReader,
    read: impl Fn(&mut RecordReader) -> Result<T, CodecError>,
) -> Result<Vec<T>, CodecError> {
    let count = reader.number()?;
    if count > RULES_MAX as u64 {
        return Err(CodecError::Meaningless("number of placement rules"));
    }
    (0..count).map(|_item| read(reader)).collect()
}

/// The tag is the place among all of them.
fn read_tag<T: Copy>(
    reader: &mut RecordReader,
    all: &[T],
    what: &'static str,
) -> Result<T, CodecError> {
    let tag = usize::from(reader.byte()?);
    all.get(tag).copied().ok_or(CodecError::Meaningless(what))
}

fn read_flag(reader: &mut RecordReader) -> Result<bool, CodecError> {
    read_tag(reader, &[false, true], "flag")
}

fn read_small(reader: &mut RecordReader) -> Result<u32, CodecError> {
    u32::try_from(reader.number()?).map_err(|_large| CodecError::Meaningless("placement rule"))
}
