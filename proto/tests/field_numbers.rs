//! The wire contract as text: every message, field, number and type, every enum value, every method path.
//! A changed line breaks clients or stores of another version. `UPDATE_GOLDEN=1` writes the file anew.

use std::{collections::BTreeSet, env, fmt::Write as _, fs, path::PathBuf};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, field_descriptor_proto::Label,
};

fn descriptors() -> FileDescriptorSet {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
    FileDescriptorSet::decode(bytes.as_slice()).expect("written by the build script")
}

fn type_of(field: &FieldDescriptorProto) -> String {
    let label = if field.label() == Label::Repeated { "repeated " } else { "" };
    let name = match field.type_name() {
        "" => field.r#type().as_str_name().trim_start_matches("TYPE_").to_lowercase(),
        name => name.trim_start_matches('.').to_owned(),
    };
    format!("{label}{name}")
}

fn list_enum(lines: &mut BTreeSet<String>, scope: &str, listed: &EnumDescriptorProto) {
    for value in &listed.value {
        lines.insert(format!(
            "enum {scope}.{} {:04} {}",
            listed.name(),
            value.number(),
            value.name()
        ));
    }
}

fn list_message(lines: &mut BTreeSet<String>, scope: &str, message: &DescriptorProto) {
    let scope = format!("{scope}.{}", message.name());
    lines.insert(format!("message {scope}"));
    for field in &message.field {
        let (number, name) = (field.number(), field.name());
        lines.insert(format!("message {scope} {number:04} {name}: {}", type_of(field)));
    }
    message.nested_type.iter().for_each(|nested| list_message(lines, &scope, nested));
    message.enum_type.iter().for_each(|nested| list_enum(lines, &scope, nested));
}

fn list_file(lines: &mut BTreeSet<String>, file: &FileDescriptorProto) {
    file.message_type.iter().for_each(|message| list_message(lines, file.package(), message));
    file.enum_type.iter().for_each(|listed| list_enum(lines, file.package(), listed));
    for service in &file.service {
        for method in &service.method {
            let stream = |streaming: bool| if streaming { "stream " } else { "" };
            lines.insert(format!(
                "method /{}.{}/{} ({}{}) -> {}{}",
                file.package(),
                service.name(),
                method.name(),
                stream(method.client_streaming()),
                method.input_type().trim_start_matches('.'),
                stream(method.server_streaming()),
                method.output_type().trim_start_matches('.'),
            ));
        }
    }
}

#[test]
fn field_numbers_are_the_contract() {
    let mut lines = BTreeSet::new();
    descriptors().file.iter().for_each(|file| list_file(&mut lines, file));
    let actual = lines.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").expect("writing to a string");
        text
    });
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/field_numbers.golden");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &actual).expect("the golden file is writable");
    }
    let expected = fs::read_to_string(&path).expect("the golden file");
    let changed = lines.iter().filter(|line| !expected.lines().any(|old| old == *line));
    let gone = expected.lines().filter(|line| !lines.contains(*line));
    assert!(
        actual == expected,
        "new or changed: {:#?}\ngone: {:#?}",
        changed.collect::<Vec<_>>(),
        gone.collect::<Vec<_>>()
    );
}
