/* SPDX-License-Identifier: GPL-2.0 */
/* What a file system's module calls in bento.ko: fsmod.c and main.c share it. */
#ifndef BENTO_REGISTER_H
#define BENTO_REGISTER_H

#include <linux/module.h>
#include "bento_abi.h"

/* `object` must live as long as the module. */
int bento_register(const struct bento_module *mod, struct module *owner,
		   const struct bento_object *object);
void bento_unregister(const struct bento_module *mod, struct module *owner);

#endif
