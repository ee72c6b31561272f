// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A plugin of QEMU that counts where the guest's instructions go: for each block of translated code, how often it ran times
 * how many instructions it has. A program in the guest begins and ends what is counted with an instruction that does nothing
 * (MARK below, in tests/suites/c/bench.c). Each end appends to FILE (plugin argument `out=FILE`) a line "window" and a line
 * "ADDRESS INSTRUCTIONS" for each block, in the order of a hash; user space is one address, 0.
 *
 * Debian does not package qemu-plugin.h; what is used of its first version is declared here.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t qemu_plugin_id_t;
enum { INLINE_ADD_U64 };
enum { CB_NO_REGS };
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*cb)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *tb, int op, void *counter, uint64_t add);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*cb)(unsigned int, void *), int flags,
					    void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

/* nopl with a displacement that says begin (0) or end (1) in its last byte. */
static const unsigned char MARK[] = { 0x0f, 0x1f, 0x80, 0x6f, 0x74, 0x6e };
enum { BEGIN, END };

/* Translated code holds pointers into this table, so that it never moves. */
enum { PLACES = 1 << 20 };
static struct place {
	uint64_t address, instructions;
	int used;
} places[PLACES];
static FILE *out;

static struct place *place(uint64_t address)
{
	size_t at = address * UINT64_C(0x9e3779b97f4a7c15) >> 44, tried;

	for (tried = 0; tried < PLACES; tried++, at = (at + 1) % PLACES) {
		if (places[at].used && places[at].address != address)
			continue;
		places[at].used = 1;
		places[at].address = address;
		return &places[at];
	}
	fprintf(stderr, "counter: more than %d blocks of code\n", PLACES);
	exit(1);
}

static void mark(unsigned int cpu, void *which)
{
	size_t at;

	(void)cpu;
	if (which)
		fprintf(out, "window\n");
	for (at = 0; at < PLACES; at++) {
		if (which && places[at].instructions)
			fprintf(out, "%" PRIx64 " %" PRIu64 "\n", places[at].address, places[at].instructions);
		places[at].instructions = 0;
	}
	fflush(out);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb);
	size_t count = qemu_plugin_tb_n_insns(tb), i;
	int user = !(address >> 63);

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline(tb, INLINE_ADD_U64, &place(user ? 0 : address)->instructions, count);
	for (i = 0; user && i < count; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const unsigned char *bytes = qemu_plugin_insn_data(insn);

		if (qemu_plugin_insn_size(insn) == sizeof(MARK) + 1 && !memcmp(bytes, MARK, sizeof(MARK)))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, mark, CB_NO_REGS,
							       (void *)(uintptr_t)(bytes[sizeof(MARK)] == END));
	}
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w"))) {
		fprintf(stderr, "counter: out=FILE is missing, or cannot be written\n");
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
