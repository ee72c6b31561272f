// SPDX-License-Identifier: GPL-2.0
/*
 * File handles (NFS, open_by_handle_at): inode number and generation, with the
 * parent's when asked. A number that was used again has another generation.
 */
#include "shim.h"

/* The kernel's common types for this layout (6.12: FILEID_INO64_GEN). */
#define BENTO_FH 0x81
#define BENTO_FH_PARENT 0x82

struct bento_fh {
	u32 ino_hi, ino_lo, generation;
	u32 parent_hi, parent_lo, parent_generation;
};

#define BENTO_FH_WORDS 3
#define BENTO_FH_PARENT_WORDS 6

static int bento_encode_fh(struct inode *inode, u32 *words, int *max_len,
			   struct inode *parent)
{
	struct bento_fh *fh = (struct bento_fh *)words;
	int need = parent ? BENTO_FH_PARENT_WORDS : BENTO_FH_WORDS;

	if (*max_len < need) {
		*max_len = need;
		return FILEID_INVALID;
	}
	*max_len = need;
	fh->ino_hi = upper_32_bits(bento_ki(inode)->pub.ino);
	fh->ino_lo = lower_32_bits(bento_ki(inode)->pub.ino);
	fh->generation = inode->i_generation;
	if (!parent)
		return BENTO_FH;
	fh->parent_hi = upper_32_bits(bento_ki(parent)->pub.ino);
	fh->parent_lo = lower_32_bits(bento_ki(parent)->pub.ino);
	fh->parent_generation = parent->i_generation;
	return BENTO_FH_PARENT;
}

static struct dentry *bento_fh_dentry(struct super_block *sb, u64 ino,
				      u32 generation)
{
	struct inode *inode;

	/* What a client sends is not what a handler said: no complaint. */
	if (!ino)
		return ERR_PTR(-ESTALE);
	inode = bento_iget(sb, ino, BENTO_OP_load_inode);
	if (IS_ERR(inode))
		return PTR_ERR(inode) == -ENOENT ? ERR_PTR(-ESTALE) :
						   ERR_CAST(inode);
	if (inode->i_generation != generation || !inode->i_nlink) {
		iput(inode);
		return ERR_PTR(-ESTALE);
	}
	return d_obtain_alias(inode);
}

static struct dentry *bento_fh_to_dentry(struct super_block *sb, struct fid *fid,
					 int len, int type)
{
	struct bento_fh *fh = (struct bento_fh *)fid->raw;

	if ((type != BENTO_FH && type != BENTO_FH_PARENT) || len < BENTO_FH_WORDS)
		return NULL;
	return bento_fh_dentry(sb, (u64)fh->ino_hi << 32 | fh->ino_lo,
			       fh->generation);
}

static struct dentry *bento_fh_to_parent(struct super_block *sb, struct fid *fid,
					 int len, int type)
{
	struct bento_fh *fh = (struct bento_fh *)fid->raw;

	if (type != BENTO_FH_PARENT || len < BENTO_FH_PARENT_WORDS)
		return NULL;
	return bento_fh_dentry(sb, (u64)fh->parent_hi << 32 | fh->parent_lo,
			       fh->parent_generation);
}

static struct dentry *bento_get_parent(struct dentry *child)
{
	struct inode *dir = d_inode(child);
	struct bento_get_parent_args args = { .inode = bento_pub(dir) };
	struct bento_super *bs = bento_isb(dir);
	struct inode *parent;
	s64 r = bento_call(bs, get_parent, &args);

	if (r < 0)
		return ERR_PTR(r);
	parent = bento_iget(dir->i_sb, args.out, BENTO_OP_get_parent);
	if (!IS_ERR(parent) && !S_ISDIR(parent->i_mode)) {
		iput(parent);
		return ERR_PTR(bento_bad(bs, BENTO_OP_get_parent,
					 "returned inode %llu, not a directory",
					 args.out));
	}
	return d_obtain_alias(parent);
}

/* nfsd: what it has done to the inode is to be durable. */
static int bento_commit_metadata(struct inode *inode)
{
	int err = sync_inode_metadata(inode, 1);

	return err ?: bento_journal_wait(inode, false);
}

void bento_fill_export(struct bento_super *bs, struct export_operations *ops)
{
	ops->encode_fh = bento_encode_fh;
	ops->fh_to_dentry = bento_fh_to_dentry;
	ops->fh_to_parent = bento_fh_to_parent;
	ops->get_parent = bento_get_parent;
	if (bento_extents(bs))
		ops->commit_metadata = bento_commit_metadata;
}
