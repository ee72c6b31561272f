use crate::cli::BuildArgs;
pub fn run(_args: &BuildArgs) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
