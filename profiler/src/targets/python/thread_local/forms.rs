//! Every form of access that a compiler and a linker make, against what the program itself says.

mod running;

use std::{collections::BTreeSet, path::Path, process::Command};

use tempfile::TempDir;

pub(super) use self::running::compile;
use self::running::{Running, compile_source};
use super::{ThreadLocal, code, find};
use crate::targets::elf::{Elf, OpenFile};

const ODD: &str = include_str!("odd.s");

/// How the functions of a file return the thread-local. Each is understood by itself; the last one returns
/// another thread-local.
fn found(file: &Path, what: &str) -> ThreadLocal {
    let data = OpenFile::open(file).unwrap().data();
    let elf = Elf::parse(&data).unwrap();
    let names = [
        "_PyThreadState_GetCurrent",
        "PyThreadState_GetUnchecked",
        "PyThreadState_Get",
        "_PyThreadState_UncheckedGet",
    ];
    // A static program exports none.
    let symbols = match elf.dynamic_symbols(names).unwrap() {
        [None, ..] => elf.static_symbols(names).unwrap(),
        symbols => symbols,
    };
    let [first, second, third, other] =
        symbols.map(|symbol| code::returned(&elf, symbol.unwrap().address));
    let answer = first.unwrap_or_else(|| panic!("{what}: not understood"));
    assert_eq!([second, third], [Some(answer); 2], "{what}");
    assert_ne!(other, Some(answer), "{what}");
    assert!(other.is_some(), "{what}");
    answer
}

/// What a form is called.
fn name(thread_local: ThreadLocal) -> &'static str {
    match thread_local {
        ThreadLocal::Offset(_) => "local exec",
        ThreadLocal::OffsetAt(_) => "initial exec",
        ThreadLocal::Module { more: 0, .. } => "general dynamic",
        ThreadLocal::Module { .. } => "local dynamic",
        ThreadLocal::Descriptor { more: 0, .. } => "descriptor",
        ThreadLocal::Descriptor { .. } => "descriptor of the module",
    }
}

/// All ways to choose one of each.
fn product<const N: usize>(choices: [&[&'static str]; N]) -> Vec<[&'static str; N]> {
    let mut all = vec![[""; N]];
    for (at, choices) in choices.iter().enumerate() {
        all = all
            .iter()
            .flat_map(|chosen| {
                choices.iter().map(move |choice| {
                    let mut chosen = *chosen;
                    chosen[at] = choice;
                    chosen
                })
            })
            .collect();
    }
    all
}

/// A library compiled in many ways, linked to a program and loaded by one: each form is found, and leads
/// to each thread's value.
fn libraries(compiler: &str, choices: [&[&'static str]; 5]) -> BTreeSet<&'static str> {
    let folder = TempDir::new().unwrap();
    let loads = folder.path().join("loads");
    compile(compiler, &["-DPROGRAM", "-DLOADS"], &loads);
    let mut forms = BTreeSet::new();
    for (at, flags) in product(choices).into_iter().enumerate() {
        let what = format!("{compiler} {flags:?}");
        let library = folder.path().join(format!("lib{at}.so"));
        let arguments = [&["-DFUNCTIONS", "-fPIC", "-shared"], &flags[..]].concat();
        compile(compiler, &arguments, &library);
        let linked = folder.path().join(format!("linked{at}"));
        compile(compiler, &["-DPROGRAM", library.to_str().unwrap()], &linked);
        let thread_local = found(&library, &what);
        forms.insert(name(thread_local));
        let running = Running::start(&loads, &[&library]);
        running.check(&library, thread_local, &format!("{what}, loaded"));
        let running = Running::start(&linked, &[]);
        running.check(&library, thread_local, &format!("{what}, linked"));
    }
    forms
}

const MODELS: [&str; 3] = [
    "-ftls-model=global-dynamic",
    "-ftls-model=local-dynamic",
    "-ftls-model=initial-exec",
];

#[test]
fn libraries_of_glibc() {
    let forms = libraries(
        "cc",
        [
            &["-O0", "-O2"],
            &["-DLINKAGE=", "-DLINKAGE=static"],
            &MODELS,
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
            &["-fplt", "-fno-plt"],
        ],
    );
    assert_eq!(
        forms.into_iter().collect::<Vec<_>>(),
        [
            "descriptor",
            "descriptor of the module",
            "general dynamic",
            "initial exec",
            "local dynamic"
        ]
    );
}

/// If there is a compiler.
fn musl() -> Option<&'static str> {
    let is_here = Command::new("musl-gcc").arg("--version").output().is_ok();
    if !is_here {
        launcher::skip("no musl-gcc here");
    }
    is_here.then_some("musl-gcc")
}

#[test]
fn libraries_of_musl() {
    let Some(compiler) = musl() else { return };
    let forms = libraries(
        compiler,
        [
            &["-O2"],
            &["-DLINKAGE=", "-DLINKAGE=static"],
            &["-ftls-model=global-dynamic", "-ftls-model=local-dynamic"],
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
            &["-fomit-frame-pointer", "-fno-omit-frame-pointer"],
        ],
    );
    assert_eq!(
        forms.into_iter().collect::<Vec<_>>(),
        ["descriptor", "general dynamic", "local dynamic"]
    );
}

/// Programs with the functions in them: whatever the compiler chose, the linker knows the offset.
fn programs(compiler: &str, choices: [&[&'static str]; 5]) {
    let folder = TempDir::new().unwrap();
    for (at, flags) in product(choices).into_iter().enumerate() {
        let what = format!("{compiler} {flags:?}");
        let program = folder.path().join(format!("program{at}"));
        let arguments = [
            &["-DFUNCTIONS", "-DPROGRAM", "-DLINKAGE=static", "-rdynamic"],
            &flags[..],
        ]
        .concat();
        compile(compiler, &arguments, &program);
        let thread_local = found(&program, &what);
        assert_eq!(name(thread_local), "local exec", "{what}");
        let running = Running::start(&program, &[]);
        running.check(&program, thread_local, &what);
    }
}

#[test]
fn programs_of_glibc() {
    programs(
        "cc",
        [
            &["-no-pie", "-pie", "-static", "-static-pie"],
            &["-O0", "-O2"],
            &["-fPIC", "-fPIE"],
            &["-ftls-model=global-dynamic", "-ftls-model=initial-exec"],
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
        ],
    );
}

#[test]
fn programs_of_musl() {
    let Some(compiler) = musl() else { return };
    programs(
        compiler,
        [
            &["-no-pie", "-static"],
            &["-O2"],
            &["-fPIE"],
            &MODELS,
            &["-mtls-dialect=gnu", "-mtls-dialect=gnu2"],
        ],
    );
}

/// The symbol and all functions must say the same; a stripped program is known by its functions, a static
/// one by its symbol alone.
#[test]
fn all_must_agree() {
    let folder = TempDir::new().unwrap();
    let program = folder.path().join("program");
    let found = |flags: &[&str]| {
        let common = ["-DFUNCTIONS", "-DPROGRAM", "-DLINKAGE=static", "-O2"];
        compile("cc", &[&common[..], flags].concat(), &program);
        let data = OpenFile::open(&program).unwrap().data();
        find(&Elf::parse(&data).unwrap())
    };
    let check = |thread_local: Option<ThreadLocal>, what: &str| {
        Running::start(&program, &[]).check(&program, thread_local.unwrap(), what);
    };
    let agreed = "-DOTHER=_Py_tss_tstate";
    assert_eq!(found(&["-rdynamic"]), None);
    assert_eq!(found(&["-rdynamic", "-s"]), None);
    check(found(&["-rdynamic", agreed]), "both");
    check(found(&["-rdynamic", "-s", agreed]), "functions");
    check(found(&["-static", agreed]), "symbol");
    assert_eq!(found(&["-static", "-s", agreed]), None);
}

/// Functions written by hand: what returns the thread-local in an odd way is understood, and what returns
/// anything else is not taken for it.
#[test]
fn odd_functions() {
    let folder = TempDir::new().unwrap();
    let library = folder.path().join("odd.so");
    compile_source(
        "cc",
        &["-shared", "-nostdlib", "-Wl,-Bsymbolic"],
        &library,
        ODD,
        "s",
    );
    let data = OpenFile::open(&library).unwrap().data();
    let elf = Elf::parse(&data).unwrap();
    let mut seen = [0, 0];
    for line in ODD.lines() {
        let Some(name) = line.strip_prefix("function ") else {
            continue;
        };
        let [symbol] = elf.dynamic_symbols([name]).unwrap();
        let answer = code::returned(&elf, symbol.unwrap().address);
        let is_same = name.starts_with("same_");
        let expected = is_same.then_some(ThreadLocal::Offset(-8));
        assert_eq!(answer, expected, "{name}");
        seen[usize::from(is_same)] += 1;
    }
    assert_eq!(seen, [22, 6]);
}
