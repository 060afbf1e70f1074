use super::{PtxErrorKind, Type, parse};

const HEADER: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

#[test]
fn parses_a_kernel_with_ranges_labels_and_guards() {
    let text = format!(
        "{HEADER}.visible .entry k(.param .u64 a) {{\n.reg .b32 %r<3>;\n.reg .pred p;\n\
         L: mov.u32 %r1, %tid.x;\n@!p bra L;\nret;\n}}"
    );
    let module = parse(&text).unwrap();
    assert_eq!(module.version, (8, 0));
    let body = module.functions[0].body.as_ref().unwrap();
    assert_eq!(body.registers, [Type::B32, Type::B32, Type::B32, Type::Pred]);
    assert_eq!(body.instructions.len(), 3);
    assert_eq!(body.instructions[1].guard, Some((3, true)));
}

#[test]
fn inner_names_hide_outer_ones() {
    let text = format!(
        "{HEADER}.entry k() {{ .reg .b32 %r<2>; {{ .reg .b64 %r1; mov.b64 %r1, 0; }} mov.b32 %r1, 0; }}"
    );
    let module = parse(&text).unwrap();
    let body = module.functions[0].body.as_ref().unwrap();
    assert_ne!(body.instructions[0].operands[0], body.instructions[1].operands[0]);
}

#[test]
fn errors_name_line_and_cause() {
    let error = parse(&format!("{HEADER}.entry k() {{\n.reg .b32 %r<2>;\nmov.b32 %r1 0;\n}}")).unwrap_err();
    assert_eq!(error.line, 6);
    assert_eq!(error.to_string(), "PTX line 6: expected `,`, found number 0");

    let error = parse(&format!("{HEADER}.entry k() {{\nmov.b32 %r7, 0;\n}}")).unwrap_err();
    assert_eq!((error.line, error.kind), (5, PtxErrorKind::UnknownName("%r7".into())));

    let error = parse(&format!("{HEADER}.entry k() {{\nbra nowhere;\n}}")).unwrap_err();
    assert_eq!((error.line, error.kind), (5, PtxErrorKind::UnknownName("nowhere".into())));

    let error = parse(&format!("{HEADER}.texref t;")).unwrap_err();
    assert_eq!((error.line, error.kind), (4, PtxErrorKind::UnsupportedDirective("texref".into())));
}

#[test]
fn limits_hold() {
    let error = parse(&format!("{HEADER}.entry k() {{ .reg .b32 %r<4000000000>; }}")).unwrap_err();
    assert!(matches!(error.kind, PtxErrorKind::Limit { what: "registers in a function", .. }));

    let nested = format!("{HEADER}.entry k() {}", "{".repeat(10_000));
    assert!(matches!(parse(&nested).unwrap_err().kind, PtxErrorKind::Limit { what: "nested braces", .. }));

    let error = parse(&format!("{HEADER}.global .b8 a[99999999999];")).unwrap_err();
    assert!(matches!(error.kind, PtxErrorKind::Limit { what: "bytes of a variable", .. }));
}

#[test]
fn few_bytes_cannot_claim_much_memory() {
    let function = |index: u32| format!(".func f{index}() {{ .reg .b32 %r<1000000>; }}\n");
    let many: String = (0..17).map(function).collect();
    let error = parse(&format!("{HEADER}{many}")).unwrap_err();
    assert!(matches!(error.kind, PtxErrorKind::Limit { what: "registers in a module", .. }), "{error}");

    let scopes = format!("{HEADER}.entry k() {{ {} }}", "{}".repeat(1 << 17));
    let error = parse(&scopes).unwrap_err();
    assert!(matches!(error.kind, PtxErrorKind::Limit { what: "scopes in a function", .. }), "{error}");
}
