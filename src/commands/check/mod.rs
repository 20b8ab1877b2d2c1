//! check
mod finding;
pub(super) fn run(
    _: Result<crate::config::Config, crate::config::mistake::Mistakes>,
    _json: bool,
) -> Result<(String, crate::exit::Exit), crate::exit::Fault> {
    todo!()
}
