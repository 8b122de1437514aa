//! A known answer for every instruction.

use std::collections::BTreeSet;

use super::{module, run};
use crate::{Module, Order};

const fn d(x: f64) -> u64 {
    x.to_bits()
}

const fn s(x: f32) -> u64 {
    x.to_bits() as u64
}

const NAN: u64 = d(f64::NAN);
const MINUS_1: u64 = u64::MAX;
const MINUS_1_32: u64 = 0xffff_ffff;

/// Mnemonic, operands, answer.
type Known = (&'static str, &'static [u64], u64);

const ONE_OPERAND: &[Known] = &[
    ("neg.s32", &[5], 0xffff_fffb),
    ("neg.s64", &[5], 0xffff_ffff_ffff_fffb),
    ("neg.f32", &[s(1.5)], s(-1.5)),
    ("neg.f64", &[d(0.0)], d(-0.0)),
    ("abs.s32", &[0xffff_fffb], 5),
    ("abs.f32", &[s(-1.5)], s(1.5)),
    ("abs.f64", &[d(-0.0)], d(0.0)),
    ("not.b16", &[0x00ff], 0xff00),
    ("not.b32", &[0], MINUS_1_32),
    ("not.b64", &[0], MINUS_1),
    ("not.pred", &[1], 0),
    ("popc.b32", &[0xf0f], 8),
    ("sqrt.rn.f32", &[s(2.0)], s(std::f32::consts::SQRT_2)),
    ("sqrt.rn.f64", &[d(2.0)], d(std::f64::consts::SQRT_2)),
    ("rcp.rn.f32", &[s(4.0)], s(0.25)),
    ("rcp.rn.f64", &[d(0.0)], d(f64::INFINITY)),
    ("mov.b16", &[0x1_2345], 0x2345),
    ("mov.u16", &[MINUS_1], 0xffff),
    ("mov.s16", &[7], 7),
    ("mov.b32", &[0x1_2345_6789], 0x2345_6789),
    ("mov.u32", &[MINUS_1], MINUS_1_32),
    ("mov.s32", &[MINUS_1], MINUS_1_32),
    ("mov.f32", &[s(1.0)], s(1.0)),
    ("mov.b64", &[MINUS_1], MINUS_1),
    ("mov.u64", &[3], 3),
    ("mov.s64", &[MINUS_1], MINUS_1),
    ("mov.f64", &[d(1.0)], d(1.0)),
    ("mov.pred", &[1], 1),
    ("cvta.to.global.u64", &[0x7_0000_0000], 0x7_0000_0000),
    ("cvt.u64.u32", &[MINUS_1_32], MINUS_1_32),
    ("cvt.s64.u32", &[MINUS_1_32], MINUS_1_32),
    ("cvt.u32.u16", &[0xffff], 0xffff),
    ("cvt.u32.u8", &[0xff], 0xff),
    ("cvt.u16.u8", &[0xff], 0xff),
    ("cvt.u64.u16", &[0xffff], 0xffff),
    ("cvt.u64.u8", &[0xff], 0xff),
    ("cvt.u32.u64", &[0x1_0000_0002], 2),
    ("cvt.u32.s64", &[MINUS_1], MINUS_1_32),
    ("cvt.s32.s64", &[MINUS_1], MINUS_1_32),
    ("cvt.u16.u32", &[0x1_2345], 0x2345),
    ("cvt.u16.u64", &[0x1_2345], 0x2345),
    ("cvt.s64.s32", &[MINUS_1_32], MINUS_1),
    ("cvt.s32.s16", &[0xffff], MINUS_1_32),
    ("cvt.s32.s8", &[0xff], MINUS_1_32),
    ("cvt.rn.f32.s32", &[MINUS_1_32], s(-1.0)),
    ("cvt.rn.f32.u32", &[16_777_217], s(16_777_216.0)),
    ("cvt.rn.f32.f64", &[d(0.1)], s(0.1)),
    ("cvt.f64.f32", &[s(0.1)], d(0.1f32 as f64)),
    ("cvt.rn.f64.s32", &[MINUS_1_32], d(-1.0)),
    ("cvt.rn.f64.u32", &[MINUS_1_32], d(4_294_967_295.0)),
    ("cvt.rn.f64.s64", &[MINUS_1], d(-1.0)),
    (
        "cvt.rn.f64.u64",
        &[MINUS_1],
        d(18_446_744_073_709_551_616.0),
    ),
    ("cvt.rzi.s32.f64", &[d(-2.7)], 0xffff_fffe),
    ("cvt.rzi.s64.f64", &[d(-2.7)], 0xffff_ffff_ffff_fffe),
    ("cvt.rzi.u32.f64", &[d(-2.7)], 0),
    ("cvt.rni.s32.f64", &[d(2.5)], 2),
    ("cvt.rni.s64.f64", &[d(3.5)], 4),
];

const TWO_OPERANDS: &[Known] = &[
    ("add.s32", &[MINUS_1_32, 3], 2),
    ("add.u32", &[MINUS_1_32, 3], 2),
    ("add.s64", &[MINUS_1, 3], 2),
    ("add.u64", &[MINUS_1, 3], 2),
    ("add.s16", &[0xffff, 3], 2),
    ("add.u16", &[0xffff, 3], 2),
    ("sub.s32", &[2, 3], MINUS_1_32),
    ("sub.u32", &[2, 3], MINUS_1_32),
    ("sub.s64", &[2, 3], MINUS_1),
    ("sub.u64", &[2, 3], MINUS_1),
    ("mul.lo.s32", &[0x1_0001, 0x1_0001], 0x2_0001),
    ("mul.lo.u32", &[MINUS_1_32, MINUS_1_32], 1),
    ("mul.lo.s64", &[MINUS_1, 5], 0xffff_ffff_ffff_fffb),
    ("mul.lo.u64", &[1 << 33, 1 << 33], 0),
    ("mul.hi.u32", &[1 << 31, 4], 2),
    ("mul.wide.u32", &[MINUS_1_32, 2], 0x1_ffff_fffe),
    ("mul.wide.s32", &[MINUS_1_32, 2], 0xffff_ffff_ffff_fffe),
    ("mul.wide.u16", &[0xffff, 0xffff], 0xfffe_0001),
    ("div.u32", &[7, 2], 3),
    ("div.s32", &[0xffff_fff9, 2], 0xffff_fffd),
    ("div.u64", &[7, 0], MINUS_1),
    ("rem.u32", &[7, 4], 3),
    ("rem.u64", &[7, 0], 7),
    ("min.u32", &[MINUS_1_32, 3], 3),
    ("max.u32", &[MINUS_1_32, 3], MINUS_1_32),
    ("min.s32", &[MINUS_1_32, 3], MINUS_1_32),
    ("max.s32", &[MINUS_1_32, 3], 3),
    ("min.u64", &[MINUS_1, 3], 3),
    ("max.u64", &[MINUS_1, 3], MINUS_1),
    ("min.s64", &[MINUS_1, 3], MINUS_1),
    ("max.s64", &[MINUS_1, 3], 3),
    ("and.b16", &[0x1_00ff, 0x1_0ff0], 0xf0),
    ("or.b16", &[0xf, MINUS_1], 0xffff),
    ("and.b32", &[0xff, MINUS_1], 0xff),
    ("or.b32", &[0, MINUS_1], MINUS_1_32),
    ("xor.b32", &[0xff, MINUS_1], 0xffff_ff00),
    ("and.b64", &[0xff, 0xf0], 0xf0),
    ("or.b64", &[0xf, 0xf0], 0xff),
    ("xor.b64", &[0xff, 0xf0], 0xf),
    ("and.pred", &[1, 0], 0),
    ("or.pred", &[1, 0], 1),
    ("xor.pred", &[1, 1], 0),
    ("shl.b32", &[1, 32], 0),
    ("shl.b64", &[1, 63], 1 << 63),
    ("shr.u32", &[0x8000_0000, 31], 1),
    ("shr.u64", &[1 << 63, 64], 0),
    ("shr.s32", &[0x8000_0000, 40], MINUS_1_32),
    ("shr.s64", &[1 << 63, 63], MINUS_1),
    ("shr.u16", &[0x8000, 15], 1),
    ("add.f32", &[s(0.1), s(0.2)], s(0.1 + 0.2)),
    ("add.rn.f32", &[s(0.1), s(0.2)], s(0.1 + 0.2)),
    ("sub.f32", &[s(0.1), s(0.2)], s(0.1 - 0.2)),
    ("sub.rn.f32", &[s(0.1), s(0.2)], s(0.1 - 0.2)),
    ("mul.f32", &[s(0.1), s(0.2)], s(0.1 * 0.2)),
    ("mul.rn.f32", &[s(0.1), s(0.2)], s(0.1 * 0.2)),
    ("div.rn.f32", &[s(0.1), s(0.3)], s(0.1 / 0.3)),
    ("add.f64", &[d(0.1), d(0.2)], d(0.1 + 0.2)),
    ("add.rn.f64", &[d(0.1), d(0.2)], d(0.1 + 0.2)),
    ("sub.f64", &[d(0.1), d(0.2)], d(0.1 - 0.2)),
    ("sub.rn.f64", &[d(0.1), d(0.2)], d(0.1 - 0.2)),
    ("mul.f64", &[d(0.1), d(0.2)], d(0.1 * 0.2)),
    ("mul.rn.f64", &[d(0.1), d(0.2)], d(0.1 * 0.2)),
    ("div.rn.f64", &[d(1.0), d(0.0)], d(f64::INFINITY)),
    ("min.f32", &[s(f32::NAN), s(1.0)], s(1.0)),
    ("max.f32", &[s(2.0), s(1.0)], s(2.0)),
    ("min.f64", &[d(2.0), NAN], d(2.0)),
    ("max.f64", &[d(2.0), d(1.0)], d(2.0)),
    ("setp.eq.s32", &[1 << 32, 0], 1),
    ("setp.eq.u32", &[1, 2], 0),
    ("setp.eq.b32", &[2, 2], 1),
    ("setp.ne.s32", &[1, 2], 1),
    ("setp.ne.u32", &[2, 2], 0),
    ("setp.ne.b32", &[1, 2], 1),
    ("setp.lt.s32", &[MINUS_1_32, 0], 1),
    ("setp.le.s32", &[0, 0], 1),
    ("setp.gt.s32", &[MINUS_1_32, 0], 0),
    ("setp.ge.s32", &[0, MINUS_1_32], 1),
    ("setp.lt.u32", &[MINUS_1_32, 0], 0),
    ("setp.le.u32", &[0, 0], 1),
    ("setp.gt.u32", &[MINUS_1_32, 0], 1),
    ("setp.ge.u32", &[0, MINUS_1_32], 0),
    ("setp.eq.s64", &[1 << 32, 0], 0),
    ("setp.eq.u64", &[5, 5], 1),
    ("setp.eq.b64", &[5, 5], 1),
    ("setp.ne.s64", &[1 << 32, 0], 1),
    ("setp.ne.u64", &[5, 5], 0),
    ("setp.ne.b64", &[5, 6], 1),
    ("setp.lt.s64", &[MINUS_1, 0], 1),
    ("setp.le.s64", &[1, 0], 0),
    ("setp.gt.s64", &[MINUS_1, 0], 0),
    ("setp.ge.s64", &[0, 0], 1),
    ("setp.lt.u64", &[MINUS_1, 0], 0),
    ("setp.le.u64", &[0, MINUS_1], 1),
    ("setp.gt.u64", &[MINUS_1, 0], 1),
    ("setp.ge.u64", &[0, 1], 0),
    ("setp.eq.s16", &[0x1_0000, 0], 1),
    ("setp.eq.b16", &[1, 0], 0),
    ("setp.ne.s16", &[0x1_0000, 0], 0),
    ("setp.ne.b16", &[1, 0], 1),
];

const THREE_OPERANDS: &[Known] = &[
    ("mad.lo.s32", &[MINUS_1_32, 5, 6], 1),
    ("mad.lo.u32", &[2, 3, 4], 10),
    ("mad.lo.s64", &[MINUS_1, 5, 6], 1),
    ("mad.lo.u64", &[2, 3, 4], 10),
    ("mad.wide.u32", &[MINUS_1_32, 2, 1], 0x1_ffff_ffff),
    // One rounding: a product first rounded would leave 0.
    (
        "fma.rn.f32",
        &[s(1.0 + f32::EPSILON), s(1.0 - f32::EPSILON), s(-1.0)],
        s(-f32::EPSILON * f32::EPSILON),
    ),
    (
        "fma.rn.f64",
        &[d(1.0 + f64::EPSILON), d(1.0 - f64::EPSILON), d(-1.0)],
        d(-f64::EPSILON * f64::EPSILON),
    ),
    ("selp.b16", &[MINUS_1, 4, 1], 0xffff),
    ("selp.u16", &[3, 4, 0], 4),
    ("selp.b32", &[MINUS_1, 4, 1], MINUS_1_32),
    ("selp.u32", &[3, 4, 0], 4),
    ("selp.s32", &[3, 4, 1], 3),
    ("selp.f32", &[s(1.0), s(2.0), 0], s(2.0)),
    ("selp.b64", &[MINUS_1, 4, 1], MINUS_1),
    ("selp.u64", &[3, 4, 0], 4),
    ("selp.s64", &[3, 4, 1], 3),
    ("selp.f64", &[d(1.0), d(2.0), 0], d(2.0)),
    ("shf.l.wrap.b32", &[0x8000_0000, 1, 33], 3),
    ("shf.r.wrap.b32", &[2, 1, 1], 0x8000_0001),
    // Bytes 4, 0, 1 and 2 from the lowest on; then byte 0, and three times the sign of byte 5.
    ("prmt.b32", &[0x4433_2211, 0x8877_66aa, 0x2104], 0x3322_11aa),
    ("prmt.b32", &[0x11, 0x8000, 0xddd0], 0xffff_ff11),
];

/// Behind `atom.<space>.`: the old value, the operands and the new value.
const ATOMIC: &[(&str, u64, &[u64], u64)] = &[
    ("add.u32", 7, &[3], 10),
    ("add.s32", 7, &[MINUS_1_32], 6),
    ("add.u64", MINUS_1, &[2], 1),
    ("min.u32", 7, &[3], 3),
    ("max.u32", 7, &[3], 7),
    ("exch.b32", 7, &[3], 3),
    ("cas.b32", 7, &[7, 3], 3),
];

fn answer((mnemonic, operands, _): &Known) -> u64 {
    let mut body = String::new();
    for idx in 0..operands.len() {
        body += &format!("ld.global.b64 %rd{idx}, [%rd90+{}];\n", idx * 8);
    }
    let names: Vec<String> = (0..operands.len()).map(|idx| format!("%rd{idx}")).collect();
    body += &format!(
        "{mnemonic} %rd80, {};\nst.global.b64 [%rd91], %rd80;",
        names.join(", ")
    );
    run(&module("", &body), (1, 1), Order::Forward, operands, 1).expect("runs")[0]
}

#[test]
fn arithmetic_has_the_known_answers() {
    for known in [ONE_OPERAND, TWO_OPERANDS, THREE_OPERANDS].concat() {
        assert_eq!(answer(&known), known.2, "{} of {:x?}", known.0, known.1);
    }
}

#[test]
fn every_instruction_of_the_table_is_tested() {
    let table = include_str!("../ptx/table.rs");
    let known: BTreeSet<&str> = [ONE_OPERAND, TWO_OPERANDS, THREE_OPERANDS]
        .concat()
        .iter()
        .map(|known| known.0)
        .chain(ATOMIC.iter().map(|known| known.0))
        .collect();
    let is_mnemonic = |text: &&str| {
        text.contains('.') && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
    };
    let named: Vec<&str> = table
        .split('"')
        .skip(1)
        .step_by(2)
        .filter(is_mnemonic)
        .filter(|name| !name.starts_with('.') && !name.ends_with('.'))
        .collect();
    assert!(named.len() > 150, "{} instructions", named.len());
    for name in named {
        assert!(known.contains(name), "{name} has no known answer");
    }
}

#[test]
fn a_field_that_is_the_high_half_is_put_in() {
    let body = "ld.global.b64 %rd1, [%rd90];\nld.global.b64 %rd2, [%rd90+8];\n\
                bfi.b64 %rd3, %rd1, %rd2, 32, 32;\nst.global.b64 [%rd91], %rd3;";
    let operands = [0xffff_ffff_0000_0007, 0xffff_ffff_0000_0009];
    let found = run(&module("", body), (1, 1), Order::Forward, &operands, 1).expect("runs");
    assert_eq!(found, [0x7_0000_0009]);
}

#[test]
fn float_comparisons_tell_numbers_from_nan() {
    // For a < b, a = b, a > b and a NaN.
    let expected: [(&str, [u64; 4]); 14] = [
        ("eq", [0, 1, 0, 0]),
        ("ne", [1, 0, 1, 0]),
        ("lt", [1, 0, 0, 0]),
        ("le", [1, 1, 0, 0]),
        ("gt", [0, 0, 1, 0]),
        ("ge", [0, 1, 1, 0]),
        ("equ", [0, 1, 0, 1]),
        ("neu", [1, 0, 1, 1]),
        ("ltu", [1, 0, 0, 1]),
        ("leu", [1, 1, 0, 1]),
        ("gtu", [0, 0, 1, 1]),
        ("geu", [0, 1, 1, 1]),
        ("num", [1, 1, 1, 0]),
        ("nan", [0, 0, 0, 1]),
    ];
    for (suffix, expected) in expected {
        for (ty, bits) in [("f32", (|x| s(x as f32)) as fn(f64) -> u64), ("f64", d)] {
            let mnemonic: &'static str = format!("setp.{suffix}.{ty}").leak();
            for ((a, b), expected) in [(1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (f64::NAN, 2.0)]
                .into_iter()
                .zip(expected)
            {
                let operands: &'static [u64] = vec![bits(a), bits(b)].leak();
                let found = answer(&(mnemonic, operands, 0));
                assert_eq!(found, expected, "{mnemonic} of {a} and {b}");
            }
        }
    }
}

#[test]
fn atomics_return_the_old_value() {
    for &(operation, old, operands, new) in ATOMIC {
        let operands: Vec<String> = operands.iter().map(u64::to_string).collect();
        let width = if operation.ends_with("64") {
            "b64"
        } else {
            "b32"
        };
        let list = operands.join(", ");
        let global = format!(
            "st.global.b64 [%rd91], {old};\natom.global.{operation} %rd1, [%rd91], {list};\n\
             st.global.b64 [%rd91+8], %rd1;"
        );
        let shared = format!(
            "st.shared.b64 [s], {old};\natom.shared.{operation} %rd1, [s], {list};\n\
             ld.shared.{width} %rd2, [s];\n\
             st.global.b64 [%rd91], %rd2;\nst.global.b64 [%rd91+8], %rd1;"
        );
        for body in [global, shared] {
            let module = module(".shared .align 8 .b8 s[8];", &body);
            let found = run(&module, (1, 1), Order::Forward, &[], 2).expect("runs");
            assert_eq!(found, [new, old], "{operation}");
        }
    }
    let body = "red.global.add.u32 [%rd90], 2;\nld.global.b64 %rd1, [%rd90];\n\
                st.global.b64 [%rd91], %rd1;";
    let found = run(&module("", body), (1, 1), Order::Forward, &[40], 1).expect("runs");
    assert_eq!(found, [42]);
}

#[test]
fn loads_and_stores_have_widths_signs_and_vectors() {
    let body = "ld.global.v2.u32 {%r1, %r2}, [%rd90];\nst.global.v2.b32 [%rd91], {%r2, %r1};\n\
                ld.global.nc.s8 %r3, [%rd90+15];\nst.global.b64 [%rd91+8], %r3;\n\
                ld.global.u16 %r4, [%rd90+8];\nst.global.b64 [%rd91+16], %r4;\n\
                mov.b64 {%r5, _}, %rd90;\nmov.b64 %rd5, {%r5, %r1};\n\
                st.global.b64 [%rd91+24], %rd5;\nmov.b32 {%rs1, %rs2}, %r2;\n\
                mov.b32 %r6, {%rs2, %rs1};\nst.global.b64 [%rd91+32], %r6;";
    let input = [0x0000_0002_0000_0001, 0xff00_0000_0000_8001];
    let found = run(&module("", body), (1, 1), Order::Forward, &input, 5).expect("runs");
    assert_eq!(found[0], 0x0000_0001_0000_0002);
    assert_eq!(found[1], MINUS_1_32);
    assert_eq!(found[2], 0x8001);
    assert_eq!(found[3] >> 32, 1);
    assert_eq!(found[4], 0x0002_0000);
}

/// Each lane's number, shuffled.
fn shuffled(instruction: &str) -> Vec<u64> {
    let body = format!(
        "mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd1, %r1, 8;\nadd.s64 %rd2, %rd91, %rd1;\n\
         {instruction}\n@!%p1 add.s32 %r2, %r2, 1000;\nst.global.b64 [%rd2], %r2;"
    );
    let module = module("", &body);
    let found = run(&module, (1, 32), Order::Shuffled(3), &[], 32).expect("runs");
    assert_eq!(
        found,
        run(&module, (1, 32), Order::Forward, &[], 32).expect("runs")
    );
    found
}

#[test]
fn shuffles_read_other_lanes() {
    let down = shuffled("shfl.sync.down.b32 %r2|%p1, %r1, 16, 31, -1;");
    assert!((0..16).all(|lane| down[lane] == lane as u64 + 16));
    assert!((16..32).all(|lane| down[lane] == lane as u64 + 1000));
    let up = shuffled("shfl.sync.up.b32 %r2|%p1, %r1, 1, 0, -1;");
    assert!((1..32).all(|lane| up[lane] == lane as u64 - 1));
    assert_eq!(up[0], 1000);
    let butterfly = shuffled("shfl.sync.bfly.b32 %r2|%p1, %r1, 1, 31, -1;");
    assert!((0..32).all(|lane| butterfly[lane] == lane as u64 ^ 1));
    let index = shuffled("shfl.sync.idx.b32 %r2|%p1, %r1, 5, 31, -1;");
    assert!(index.iter().all(|&lane| lane == 5));
}

#[test]
fn threads_know_where_they_are_and_branch() {
    let body = "mov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %ntid.x;\nmov.u32 %r3, %tid.x;\n\
                mad.lo.s32 %r4, %r1, %r2, %r3;\nmul.wide.u32 %rd1, %r4, 8;\n\
                add.s64 %rd2, %rd91, %rd1;\nmov.u32 %r5, %nctaid.x;\nmov.u32 %r6, %laneid;\n\
                setp.lt.u32 %p1, %r4, 3;\n@%p1 bra $SMALL;\nmul.lo.s32 %r4, %r4, 10;\n\
                bra.uni $END;\n$SMALL:\nadd.s32 %r4, %r4, %r5;\n$END:\nmembar.gl;\n\
                add.s32 %r4, %r4, %r6;\nst.global.b64 [%rd2], %r4;";
    let found = run(&module("", body), (2, 4), Order::Reverse, &[], 8).expect("runs");
    assert_eq!(found, [2, 4, 6, 33, 40, 51, 62, 73]);
}

#[test]
fn what_is_not_known_is_named() {
    for (body, expected) in [
        (
            "ex2.approx.f32 %r1, %r2;",
            "\"ex2.approx.f32\" is not known",
        ),
        (
            "atom.global.add.f32 %r1, [%rd90], %r2;",
            "\"atom.global.add.f32\" is not known",
        ),
        ("add.rz.f32 %r1, %r2, %r3;", "\"add.rz.f32\" is not known"),
        (
            "vote.sync.any.pred %p1, %p2, -1;",
            "\"vote.sync.any.pred\" is not known",
        ),
        ("bar.sync 1;", "\"bar.sync\" is not known"),
        ("ld.local.b32 %r1, [%rd1];", "\"ld.local.b32\" is not known"),
        (".local .align 8 .b8 depot[8];", "local memory is not known"),
        ("bra $NOWHERE;", "there is no label `$NOWHERE`"),
        ("add.s32 %r1, %r2;", "\"add.s32\" is not known"),
        ("add.s32 x, %r2, 1;", "`x` is not a register"),
        (
            "st.param.b32 [k_param_0], %r1;",
            "\"st.param.b32\" is not known",
        ),
    ] {
        let source = format!(".entry k(\n.param .u64 k_param_0\n)\n{{\n{body}\nret;\n}}");
        let error = Module::parse(&source).expect_err(body).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with("PTX line 5:"), "{error}");
    }
    let error = Module::parse(".func f(\n)\n{ ret; }").expect_err("a function");
    assert!(error.to_string().contains("only kernels"));
}
