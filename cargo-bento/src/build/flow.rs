// SPDX-License-Identifier: GPL-2.0 OR MIT
//! What each function of the object does to control flow: whom it calls or jumps to, whether it can return, which
//! addresses it takes, and where it would trap. The checks and the recursion analysis read this.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};

use super::elf::{Prelinked, Reloc, Target};

/// Functions of other objects that never return; the ABI header says so.
const NORETURN: [&str; 3] = ["bento_abandon", "bento_resume", "_Unwind_Resume"];

/// One function, decoded.
#[derive(Debug, Default)]
pub struct Flow {
    pub instructions: Vec<Instruction>,
    pub calls: BTreeSet<Callee>,
    /// Jumps that leave the function.
    pub tails: BTreeSet<Callee>,
    pub returns: bool,
    /// Starts of functions whose address it takes.
    pub taken: BTreeSet<u64>,
    /// Offsets of `ud2`.
    pub traps: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Callee {
    /// Start of a function in `.text`.
    Local(u64),
    Extern(String),
    Indirect,
}

/// The whole object; functions by their start.
#[derive(Debug)]
pub struct Program {
    pub flows: BTreeMap<u64, Flow>,
    pub noreturn: BTreeSet<u64>,
}

impl Program {
    pub fn read(object: &Prelinked) -> Program {
        let flows: BTreeMap<u64, Flow> =
            object.functions.iter().map(|function| (function.start, decode(object, function.start))).collect();
        let noreturn = noreturn(&flows);
        Program { flows, noreturn }
    }

    pub fn never_returns(&self, callee: &Callee) -> bool {
        match callee {
            Callee::Local(start) => self.noreturn.contains(start),
            Callee::Extern(name) => NORETURN.contains(&name.as_str()),
            Callee::Indirect => false,
        }
    }

    /// Whether the trap at `at` only marks that a call before it does not come back. The others are real aborts.
    pub fn trap_follows_noreturn(&self, object: &Prelinked, start: u64, at: u64) -> bool {
        let Some(flow) = self.flows.get(&start) else {
            return false;
        };
        let mut seen = BTreeSet::new();
        self.only_after_noreturn(object, flow, at, &mut seen)
    }

    /// Whether every way to the trap at `at` passes an instruction that `judge` knows, or a call that does not return.
    /// For traps whose own line the compiler lost when it merged several into one.
    pub fn every_way_passes(&self, object: &Prelinked, start: u64, at: u64, judge: &dyn Fn(u64) -> bool) -> bool {
        let mut seen = BTreeSet::new();
        self.flows.get(&start).is_some_and(|flow| self.passes(object, flow, at, judge, &mut seen))
    }

    fn passes(
        &self,
        object: &Prelinked,
        flow: &Flow,
        at: u64,
        judge: &dyn Fn(u64) -> bool,
        seen: &mut BTreeSet<u64>,
    ) -> bool {
        if !seen.insert(at) {
            return true;
        }
        let falls = |instruction: &&Instruction| {
            instruction.next_ip() == at
                && !matches!(
                    instruction.flow_control(),
                    FlowControl::UnconditionalBranch
                        | FlowControl::IndirectBranch
                        | FlowControl::Return
                        | FlowControl::Exception
                )
        };
        let before = flow.instructions.iter().filter(|instruction| falls(instruction));
        let jumps = flow.instructions.iter().filter(|instruction| lands_at(object, instruction, at));
        let mut ways = before.chain(jumps).peekable();
        ways.peek().is_some()
            && ways.all(|way| {
                let is_call = matches!(way.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
                judge(way.ip())
                    || (is_call && self.never_returns(&callee(object, way)))
                    || self.passes(object, flow, way.ip(), judge, seen)
            })
    }

    fn only_after_noreturn(&self, object: &Prelinked, flow: &Flow, at: u64, seen: &mut BTreeSet<u64>) -> bool {
        if !seen.insert(at) {
            return true;
        }
        let mut entered = false;
        if let Some(before) = flow.instructions.iter().rfind(|instruction| instruction.next_ip() == at) {
            match before.flow_control() {
                FlowControl::Call | FlowControl::IndirectCall => {
                    entered = true;
                    if !self.never_returns(&callee(object, before)) {
                        return false;
                    }
                }
                FlowControl::UnconditionalBranch
                | FlowControl::IndirectBranch
                | FlowControl::Return
                | FlowControl::Exception => {}
                _ if before.mnemonic() == Mnemonic::Endbr64 => return false,
                FlowControl::Next => {
                    entered = true;
                    if !self.only_after_noreturn(object, flow, before.ip(), seen) {
                        return false;
                    }
                }
                _ => return false,
            }
        }
        for jump in flow.instructions.iter().filter(|instruction| lands_at(object, instruction, at)) {
            entered = true;
            let unconditional = jump.flow_control() == FlowControl::UnconditionalBranch;
            if !unconditional || !self.only_after_noreturn(object, flow, jump.ip(), seen) {
                return false;
            }
        }
        // Nothing leads here but a landing pad's table.
        entered
    }
}

fn decode(object: &Prelinked, start: u64) -> Flow {
    let mut flow = Flow::default();
    let Some(function) = object.function_at(start) else {
        return flow;
    };
    let inside = function.start..function.start + function.len;
    for instruction in Decoder::with_ip(64, object.code(function), start, DecoderOptions::NONE).iter() {
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                flow.calls.insert(callee(object, &instruction));
            }
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch | FlowControl::IndirectBranch => {
                match destination(object, &instruction) {
                    Destination::Return => flow.returns = true,
                    Destination::Text(at) if inside.contains(&at) => {}
                    _ => {
                        flow.tails.insert(callee(object, &instruction));
                    }
                }
            }
            FlowControl::Return => flow.returns = true,
            FlowControl::Exception => flow.traps.push(instruction.ip()),
            _ => {
                if let Some(Target::Text(at)) = reloc(object, &instruction).map(|reloc| &reloc.target)
                    && let Some(target) = object.function_at(*at)
                    && target.start == *at
                {
                    flow.taken.insert(*at);
                }
            }
        }
        flow.instructions.push(instruction);
    }
    flow
}

enum Destination {
    Return,
    Text(u64),
    Extern(String),
    Unknown,
}

fn destination(object: &Prelinked, instruction: &Instruction) -> Destination {
    match reloc(object, instruction).map(|reloc| &reloc.target) {
        Some(Target::Extern(name)) if name == "__x86_return_thunk" => Destination::Return,
        Some(Target::Extern(name)) if name.starts_with("__x86_indirect_thunk") => Destination::Unknown,
        Some(Target::Extern(name)) => Destination::Extern(name.clone()),
        Some(Target::Text(at)) => Destination::Text(*at),
        Some(Target::Data(..)) => Destination::Unknown,
        None => match instruction.flow_control() {
            FlowControl::IndirectCall | FlowControl::IndirectBranch => Destination::Unknown,
            _ => Destination::Text(instruction.near_branch_target()),
        },
    }
}

/// Whom a call or a jump out of the function reaches.
pub fn callee(object: &Prelinked, instruction: &Instruction) -> Callee {
    match destination(object, instruction) {
        Destination::Text(at) => match object.function_at(at) {
            Some(function) => Callee::Local(function.start),
            None => Callee::Indirect,
        },
        Destination::Extern(name) => Callee::Extern(name),
        Destination::Return | Destination::Unknown => Callee::Indirect,
    }
}

fn lands_at(object: &Prelinked, instruction: &Instruction, at: u64) -> bool {
    matches!(instruction.flow_control(), FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch)
        && matches!(destination(object, instruction), Destination::Text(target) if target == at)
}

fn reloc<'o>(object: &'o Prelinked, instruction: &Instruction) -> Option<&'o Reloc> {
    object.text_relocs.range(instruction.ip()..instruction.next_ip()).next().map(|(_, reloc)| reloc)
}

/// Starts from "nobody returns" and takes back what a return, or a jump to somebody who returns, disproves.
fn noreturn(flows: &BTreeMap<u64, Flow>) -> BTreeSet<u64> {
    let mut silent: BTreeSet<u64> = flows.iter().filter(|(_, flow)| !flow.returns).map(|(start, _)| *start).collect();
    loop {
        let before = silent.len();
        let kept = silent.iter().copied().filter(|start| {
            flows[start].tails.iter().all(|tail| match tail {
                Callee::Local(target) => silent.contains(target),
                Callee::Extern(name) => NORETURN.contains(&name.as_str()),
                Callee::Indirect => false,
            })
        });
        silent = kept.collect();
        if silent.len() == before {
            return silent;
        }
    }
}
