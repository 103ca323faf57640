//! Temporary.
fn main() {
    match profiler::kernel::load(&profiler::kernel::Settings::default()) {
        Ok(_) => println!("ok"),
        Err(e) => {
            let mut s: Option<&dyn std::error::Error> = Some(&e);
            while let Some(x) = s {
                println!("{x}");
                s = x.source();
            }
        }
    }
}
