// SPDX-License-Identifier: GPL-2.0 OR MIT
//! A file system that answers with random and extreme values: nothing breaks, and each lie that is caught has a line.

mod every;

use bento::errno::Errno;
use bento_user_shim::Harness;
use hostilefs::HostileFs;

#[test]
fn lies_are_refused_and_named() {
    let (mut mounted, mut refused) = (0, 0);
    for seed in 0..40 {
        let sane = [95, 80, 50, 20][seed % 4];
        let Ok(fs) = Harness::mount::<HostileFs>(&format!("seed={seed},sane={sane}")) else { continue };
        mounted += 1;
        for _ in 0..3 {
            let said = every::operation(&fs);
            let lies = said.iter().filter(|(_, errno)| *errno == Some(Errno::EUCLEAN)).count() as u64;
            // A handler may also say EUCLEAN itself; that is no lie.
            refused += lies.min(fs.bad_values());
        }
        assert!(fs.panics().is_empty(), "seed {seed}: {:?}", fs.panics());
        assert_eq!(fs.log().iter().filter(|line| line.contains("returned")).count() > 0, fs.bad_values() > 0);
        fs.unmount_and_report().unwrap();
    }
    assert!(mounted > 5 && refused > 20, "{mounted} mounts, {refused} lies refused");
}
