// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Many tasks at once, in one directory and in many.

mod common;

use std::thread;

use bento::errno::Errno;
use common::{Image, KINDS};

#[test]
fn many_tasks_at_once() {
    for options in [KINDS[0], KINDS[1], KINDS[3], KINDS[13]] {
        let image = Image::new("parallel", 64, options);
        let fs = image.mount("");
        fs.mkdir("/all", 0o755).unwrap();
        thread::scope(|scope| {
            for task in 0..6u8 {
                let fs = &fs;
                scope.spawn(move || {
                    fs.mkdir(format!("/{task}"), 0o755).unwrap();
                    for n in 0..150usize {
                        let own = format!("/{task}/{n}");
                        let shared = format!("/all/{task}-{n}");
                        fs.write_file(&own, vec![task; n * 50]).unwrap();
                        fs.write_file(&shared, vec![task; 100]).unwrap();
                        if n.is_multiple_of(2) {
                            fs.rename(&own, format!("/all/moved-{task}-{n}")).unwrap();
                        }
                        if n.is_multiple_of(3) {
                            let held = fs.open(&shared, 0).unwrap();
                            fs.unlink(&shared).unwrap();
                            held.close().unwrap();
                        }
                    }
                });
            }
        });
        for task in 0..6u8 {
            for n in 0..150usize {
                let shared = fs.read_file(format!("/all/{task}-{n}"));
                assert_eq!(shared, if n.is_multiple_of(3) { Err(Errno::ENOENT) } else { Ok(vec![task; 100]) });
                let own = match n.is_multiple_of(2) {
                    true => format!("/all/moved-{task}-{n}"),
                    false => format!("/{task}/{n}"),
                };
                assert_eq!(fs.read_file(own).unwrap(), vec![task; n * 50]);
            }
        }
        image.done(fs);
    }
}
