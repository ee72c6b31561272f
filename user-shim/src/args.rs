// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What the argument blocks of all calls have in common.

use bento::abi;

/// An argument block.
pub trait Args {
    /// The inodes it names: a transaction of that call is theirs too, and `fsync` of them waits for it.
    fn inodes(&self, _each: &mut dyn FnMut(*mut abi::bento_inode)) {}

    /// Blocks that were counted as used before the call, and may be taken in it.
    fn promised(&self) -> u64 {
        0
    }

    /// What is left of them.
    fn keep_promised(&mut self, _left: u64) {}

    /// Will bytes be written afterwards that must not come later than the transaction?
    fn holds(&self) -> bool {
        false
    }
}

macro_rules! args {
    ($($name:ident { $($field:ident)* })*) => {$(
        impl Args for abi::$name {
            fn inodes(&self, each: &mut dyn FnMut(*mut abi::bento_inode)) {
                $(each(self.$field);)*
                let _ = each;
            }
        }
    )*};
}

args! {
    bento_mount_args {} bento_unmount_args {} bento_statfs_args {} bento_sync_fs_args {} bento_reconfigure_args {}
    bento_freeze_args {} bento_trim_args {} bento_load_inode_args { inode } bento_inode_args { inode } bento_lookup_args { dir }
    bento_entry_args { dir inode } bento_get_link_args { inode } bento_setattr_args { inode }
    bento_getattr_args { inode } bento_getxattr_args { inode } bento_listxattr_args { inode }
    bento_setxattr_args { inode } bento_removexattr_args { inode } bento_set_acl_args { inode }
    bento_fileattr_args { inode }
    bento_iterate_args { dir } bento_read_args { inode } bento_write_args { inode } bento_ioctl_args { inode }
    bento_save_args {} bento_load_args {} bento_drop_instance_args {} bento_save_inode_args {}
    bento_migrate_inode_args {} bento_drop_inode_args {}
}

impl Args for abi::bento_make_args {
    fn inodes(&self, each: &mut dyn FnMut(*mut abi::bento_inode)) {
        each(self.dir);
        each(self.node.inode);
    }
}

impl Args for abi::bento_rename_args {
    fn inodes(&self, each: &mut dyn FnMut(*mut abi::bento_inode)) {
        each(self.old_dir);
        each(self.inode);
        each(self.new_dir);
        each(self.target);
    }
}

impl Args for abi::bento_map_args {
    fn inodes(&self, each: &mut dyn FnMut(*mut abi::bento_inode)) {
        each(self.inode);
    }

    fn promised(&self) -> u64 {
        if self.flags & abi::BENTO_ALLOCATE_DELAYED != 0 { self.reserved } else { 0 }
    }

    fn keep_promised(&mut self, left: u64) {
        if self.flags & abi::BENTO_ALLOCATE_DELAYED != 0 {
            self.reserved = left;
        }
    }

    fn holds(&self) -> bool {
        self.flags & abi::BENTO_ALLOCATE_WRITTEN != 0
    }
}
