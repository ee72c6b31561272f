// SPDX-License-Identifier: GPL-2.0
/*
 * The C half of a file system's module: registers the Rust half with bento.ko.
 * BENTO_FS_NAME (unquoted) and BENTO_FS_VERSION come from the build.
 */
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/stringify.h>

#include "bento_abi.h"
#include "register.h"

extern const struct bento_module bento_fs_main;
extern const char __bento_unwind_start[], __bento_unwind_end[];

static struct bento_object bento_this;

static int __init bento_fs_init(void)
{
	bento_this.unwind = (const u8 *)__bento_unwind_start;
	bento_this.unwind_len = __bento_unwind_end - __bento_unwind_start;
	return bento_register(&bento_fs_main, THIS_MODULE, &bento_this);
}

static void __exit bento_fs_exit(void)
{
	bento_unregister(&bento_fs_main, THIS_MODULE);
}

module_init(bento_fs_init);
module_exit(bento_fs_exit);

MODULE_DESCRIPTION("Bento file system " __stringify(BENTO_FS_NAME));
MODULE_LICENSE("Dual MIT/GPL");
MODULE_ALIAS_FS(__stringify(BENTO_FS_NAME));
#ifdef BENTO_FS_VERSION
MODULE_VERSION(__stringify(BENTO_FS_VERSION));
#endif
