use crate::cli::CrateArgs;
pub fn run(_args: &CrateArgs) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
