// SPDX-License-Identifier: GPL-2.0 OR MIT
//! The call frame instructions that LLVM emits for x86-64, and no others: DWARF 4, section 6.4.2. Anything else is an
//! error, which the build meets first.

use super::Reader;

/// A register that a caller expects back, plus the stack pointer and the return address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Reg {
    Rbx,
    Rbp,
    R12,
    R13,
    R14,
    R15,
    /// The return address, at CFA − 8.
    Ra,
    Rsp,
}

impl Reg {
    /// How many can be saved in a frame: all but `Rsp`, which the CFA gives.
    pub const SAVED: usize = 7;

    /// From the psABI's DWARF register numbers.
    fn from_dwarf(number: u64) -> Option<Reg> {
        Some(match number {
            3 => Reg::Rbx,
            6 => Reg::Rbp,
            7 => Reg::Rsp,
            12 => Reg::R12,
            13 => Reg::R13,
            14 => Reg::R14,
            15 => Reg::R15,
            16 => Reg::Ra,
            _ => return None,
        })
    }
}

/// How to find the caller's registers at one point of a function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The canonical frame address is this register plus `cfa_offset`.
    pub cfa_register: Reg,
    pub cfa_offset: i32,
    /// Where each register is saved, relative to the CFA; 0 = it still holds the caller's value.
    pub saved: [i32; Reg::SAVED],
    /// Bytes that the function has pushed for the call it is in. Its landing pad expects them popped.
    pub pushed: u32,
}

/// Why a program was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// An opcode that the unwinder does not know.
    UnknownOpcode(u8),
    /// A register that is not callee-saved.
    Register(u64),
    /// The program ends inside an instruction.
    Truncated,
    /// `remember_state` nested too deep, or `restore_state` without it.
    State,
    /// An offset out of range, or no CFA defined at all.
    Offset,
}

const DATA_ALIGN: i64 = -8;
const REMEMBERED: usize = 2;

struct Machine {
    row: Row,
    initial: [i32; Reg::SAVED],
    stack: [Row; REMEMBERED],
    depth: usize,
    location: u64,
}

/// The row that holds at `offset` bytes into a function, from its CIE's initial instructions and its own.
pub fn row_at(initial: &[u8], program: &[u8], offset: u64) -> Result<Row, Error> {
    let row = Row { cfa_register: Reg::Rsp, cfa_offset: 0, saved: [0; Reg::SAVED], pushed: 0 };
    let mut machine = Machine { row, initial: row.saved, stack: [row; REMEMBERED], depth: 0, location: 0 };
    machine.run(initial, u64::MAX)?;
    machine.initial = machine.row.saved;
    machine.location = 0;
    machine.run(program, offset)?;
    if machine.row.saved[Reg::Ra as usize] == 0 || machine.row.cfa_offset == 0 {
        return Err(Error::Offset);
    }
    Ok(machine.row)
}

impl Machine {
    fn run(&mut self, program: &[u8], until: u64) -> Result<(), Error> {
        let mut reader = Reader::new(program);
        while let Some(opcode) = reader.u8() {
            let low = u64::from(opcode & 0x3f);
            match opcode >> 6 {
                1 => self.location += low,
                2 => {
                    let offset = uleb(&mut reader)?;
                    self.save(low, offset)?;
                }
                3 => self.restore(low)?,
                _ => self.extended(opcode, &mut reader)?,
            }
            if self.location > until {
                break;
            }
        }
        Ok(())
    }

    fn extended(&mut self, opcode: u8, reader: &mut Reader<'_>) -> Result<(), Error> {
        match opcode {
            0x00 => {}                                                                 // nop
            0x02 => self.location += u64::from(reader.u8().ok_or(Error::Truncated)?),  // advance_loc1
            0x03 => self.location += u64::from(reader.u16().ok_or(Error::Truncated)?), // advance_loc2
            0x04 => self.location += u64::from(reader.u32().ok_or(Error::Truncated)?), // advance_loc4
            0x0a => {
                // remember_state
                *self.stack.get_mut(self.depth).ok_or(Error::State)? = self.row;
                self.depth += 1;
            }
            0x0b => {
                // restore_state
                self.depth = self.depth.checked_sub(1).ok_or(Error::State)?;
                // What is pushed is no part of the state.
                self.row = Row { pushed: self.row.pushed, ..self.stack[self.depth] };
            }
            0x0c => {
                // def_cfa
                let (register, offset) = (uleb(reader)?, uleb(reader)?);
                self.row.cfa_register = Reg::from_dwarf(register).ok_or(Error::Register(register))?;
                self.row.cfa_offset = offset.try_into().map_err(|_| Error::Offset)?;
            }
            0x0d => {
                // def_cfa_register
                let register = uleb(reader)?;
                self.row.cfa_register = Reg::from_dwarf(register).ok_or(Error::Register(register))?;
            }
            0x0e => self.row.cfa_offset = uleb(reader)?.try_into().map_err(|_| Error::Offset)?, // def_cfa_offset
            0x2e => self.row.pushed = uleb(reader)?.try_into().map_err(|_| Error::Offset)?,     // GNU_args_size
            other => return Err(Error::UnknownOpcode(other)),
        }
        Ok(())
    }

    fn slot(&self, register: u64) -> Result<usize, Error> {
        match Reg::from_dwarf(register) {
            None | Some(Reg::Rsp) => Err(Error::Register(register)),
            Some(register) => Ok(register as usize),
        }
    }

    fn save(&mut self, register: u64, factored: u64) -> Result<(), Error> {
        let offset = i64::try_from(factored).ok().and_then(|n| n.checked_mul(DATA_ALIGN)).ok_or(Error::Offset)?;
        let slot = self.slot(register)?;
        self.row.saved[slot] = offset.try_into().map_err(|_| Error::Offset)?;
        Ok(())
    }

    fn restore(&mut self, register: u64) -> Result<(), Error> {
        let slot = self.slot(register)?;
        self.row.saved[slot] = self.initial[slot];
        Ok(())
    }
}

fn uleb(reader: &mut Reader<'_>) -> Result<u64, Error> {
    reader.uleb128().ok_or(Error::Truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    // def_cfa rsp 8; offset ra 1: what every CIE on x86-64 begins with.
    const INITIAL: &[u8] = &[0x0c, 7, 8, 0x90, 1];

    #[test]
    fn a_prologue_that_pushes_two_registers() {
        // push rbp at 1; push rbx at 2; then the saves are declared at 5.
        let program = [0x41, 0x0e, 16, 0x41, 0x0e, 24, 0x43, 0x83, 3, 0x86, 2];
        let at = |offset| row_at(INITIAL, &program, offset).unwrap();
        assert_eq!(at(0).cfa_offset, 8);
        assert_eq!(at(1).cfa_offset, 16);
        assert_eq!(at(4).saved[Reg::Rbx as usize], 0);
        assert_eq!(at(5).saved, [-24, -16, 0, 0, 0, 0, -8]);
        assert_eq!(at(500).cfa_offset, 24);
    }

    #[test]
    fn states_are_remembered_and_restored() {
        let program = [0x41, 0x0e, 32, 0x0a, 0x41, 0x0e, 8, 0x41, 0x0b];
        assert_eq!(row_at(INITIAL, &program, 2).unwrap().cfa_offset, 8);
        assert_eq!(row_at(INITIAL, &program, 3).unwrap().cfa_offset, 32);
    }

    /// A call with so many arguments that four words are pushed, between two without.
    #[test]
    fn what_is_pushed_for_a_call_is_known_at_the_call() {
        let program = [0x41, 0x0e, 32, 0x44, 0x0e, 64, 0x2e, 32, 0x0a, 0x46, 0x0e, 32, 0x2e, 0, 0x0b];
        let at = |offset| row_at(INITIAL, &program, offset).unwrap();
        assert_eq!((at(1).pushed, at(1).cfa_offset), (0, 32));
        assert_eq!((at(5).pushed, at(5).cfa_offset), (32, 64));
        assert_eq!((at(11).pushed, at(11).cfa_offset), (0, 64));
    }

    #[test]
    fn what_it_does_not_know_it_refuses() {
        assert_eq!(row_at(INITIAL, &[0x0f, 0], 0), Err(Error::UnknownOpcode(0x0f)));
        assert_eq!(row_at(INITIAL, &[0x80, 1], 0), Err(Error::Register(0)));
        assert_eq!(row_at(INITIAL, &[0x0b], 0), Err(Error::State));
        assert_eq!(row_at(INITIAL, &[0x03, 1], 0), Err(Error::Truncated));
        assert_eq!(row_at(&[], &[], 0), Err(Error::Offset));
    }
}
