// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The FUSE front door.
