// SPDX-License-Identifier: GPL-2.0
/*
 * Memory functions for a Rust object in user-mode Linux. The kernel's own lie
 * out of reach of the object's 32-bit calls; this file, compiled with the
 * kernel's large code model, is in reach and reaches them.
 */
#include <linux/module.h>
#include <linux/string.h>

void *bento_memcpy(void *to, const void *from, size_t len);
void *bento_memmove(void *to, const void *from, size_t len);
void *bento_memset(void *to, int byte, size_t len);
int bento_memcmp(const void *a, const void *b, size_t len);
int bento_bcmp(const void *a, const void *b, size_t len);
size_t bento_strlen(const char *s);

void *bento_memcpy(void *to, const void *from, size_t len)
{
	return memcpy(to, from, len);
}

void *bento_memmove(void *to, const void *from, size_t len)
{
	return memmove(to, from, len);
}

void *bento_memset(void *to, int byte, size_t len)
{
	return memset(to, byte, len);
}

int bento_memcmp(const void *a, const void *b, size_t len)
{
	return memcmp(a, b, len);
}

int bento_bcmp(const void *a, const void *b, size_t len)
{
	return memcmp(a, b, len);
}

size_t bento_strlen(const char *s)
{
	return strlen(s);
}
