use crate::cli::MountArgs;
pub fn run(_args: &MountArgs) -> anyhow::Result<u8> {
    anyhow::bail!("not built yet")
}
