use crate::cli::NewArgs;
pub fn run(_args: &NewArgs) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
