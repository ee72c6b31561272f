// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What crosses crates is tested here, in `tests/`; the suites that run in kernels are in `suites/`.
