//! Calls, returns and indexed branches of a group.

use super::fault::{FaultKind, Trap};
use super::inst::{CallSite, Code, Run};
use super::lanes::{Frame, lanes_of, read};
use super::launch::LaunchState;
use super::memory::CODE_WINDOW;
use super::warp::{Group, State, Warp};

/// Deepest nesting of calls.
pub const CALL_DEPTH_MAX: u32 = 512;
/// Most local memory of a thread over all nested calls, in bytes: what CUDA allows.
pub const LOCAL_BYTES_MAX: u64 = 512 << 10;

impl Warp {
    /// Group `at` calls a function; lanes that call different ones part.
    pub(super) fn call(&mut self, launch: &LaunchState, at: usize) -> Result<(), Trap> {
        let code = &launch.kernel.code;
        let Group { pc, depth, mask, .. } = self.groups[at];
        let inst = &code.insts[pc as usize];
        let site = &code.calls[inst.target as usize];
        let first = mask.trailing_zeros() as usize;
        if depth + 1 >= CALL_DEPTH_MAX {
            return Err(Trap::new(FaultKind::StackOverflow, first, 0));
        }
        let Some(function) = site.function else {
            let targets = *read::<u64>(&self.frames[depth as usize], inst.a);
            let target = targets[first];
            let same =
                lanes_of(mask).filter(|&lane| targets[lane] == target).fold(0, |all, lane| all | 1 << lane);
            if same != mask {
                // The others come back to this instruction as a group of their own.
                self.split(at, same, pc);
                let rest = self.groups.len() - 1;
                self.groups[rest].pc = pc;
            }
            let function = target
                .checked_sub(CODE_WINDOW)
                .and_then(|index| usize::try_from(index).ok())
                .filter(|&index| code.functions.get(index).is_some_and(|f| f.is_callable(site)))
                .ok_or(Trap::new(FaultKind::InvalidPc, first, target))?;
            return self.enter_call(launch, at, site, function);
        };
        self.enter_call(launch, at, site, function as usize)
    }

    fn enter_call(
        &mut self,
        launch: &LaunchState,
        at: usize,
        site: &CallSite,
        function: usize,
    ) -> Result<(), Trap> {
        let callee = &launch.kernel.code.functions[function];
        let Group { pc, depth, mask, .. } = self.groups[at];
        let (caller_depth, depth) = (depth as usize, depth as usize + 1);
        self.make_room(launch, at, site, function)?;
        self.enter(launch, function, depth, mask);
        for lane in lanes_of(mask) {
            let base = self.frames[caller_depth].local_base[lane];
            let above = u64::from(base) + u64::from(site.caller_bytes);
            if above + u64::from(callee.local_bytes) > LOCAL_BYTES_MAX {
                return Err(Trap::new(FaultKind::StackOverflow, lane, above));
            }
            self.local.grow(above + u64::from(callee.local_bytes));
            let frame = &mut self.frames[depth];
            frame.return_pc[lane] = pc + 1;
            #[allow(clippy::cast_possible_truncation, reason = "bounded by LOCAL_BYTES_MAX just above")]
            let above = above as u32;
            frame.local_base[lane] = above;
            self.copy_local(lane, base, &site.arguments, above, &callee.params);
        }
        let group = &mut self.groups[at];
        group.pc = callee.entry;
        group.depth += 1;
        Ok(())
    }

    /// Takes the memory that a call needs beyond what the warp has had so far.
    fn make_room(
        &mut self,
        launch: &LaunchState,
        at: usize,
        site: &CallSite,
        function: usize,
    ) -> Result<(), Trap> {
        let callee = &launch.kernel.code.functions[function];
        let Group { depth, mask, .. } = self.groups[at];
        let bases = &self.frames[depth as usize].local_base;
        let base = lanes_of(mask).map(|lane| u64::from(bases[lane])).max().unwrap_or(0);
        let end = base + u64::from(site.caller_bytes) + u64::from(callee.local_bytes);
        let frame = self.frames.get(depth as usize + 1).map_or_else(
            || size_of::<Frame>() as u64 + Frame::default().growth_bytes(callee.shape),
            |frame| frame.growth_bytes(callee.shape),
        );
        let bytes = frame + self.local.growth_bytes(end.min(LOCAL_BYTES_MAX));
        if launch.share.grow(bytes) {
            return Ok(());
        }
        Err(Trap::new(FaultKind::StackOverflow, mask.trailing_zeros() as usize, end))
    }

    /// Copies parameters between the local variables of two calls, byte by byte as declared.
    fn copy_local(
        &mut self,
        lane: usize,
        from: u32,
        sources: &[(u32, u32)],
        to: u32,
        targets: &[(u32, u32)],
    ) {
        for (&(source, bytes), &(target, room)) in sources.iter().zip(targets) {
            let (source, target) = (u64::from(from) + u64::from(source), u64::from(to) + u64::from(target));
            let bytes = u64::from(bytes.min(room));
            let mut done = 0;
            while done < bytes {
                if bytes - done >= 4 && (source + done) % 4 == 0 && (target + done) % 4 == 0 {
                    let word = self.local.get::<u32>(source + done, lane);
                    self.local.put::<u32>(target + done, lane, word);
                    done += 4;
                } else {
                    let byte = self.local.get::<u8>(source + done, lane);
                    self.local.put::<u8>(target + done, lane, byte);
                    done += 1;
                }
            }
        }
    }

    /// Group `at` returns; lanes that were called from different places part.
    pub(super) fn leave_function(&mut self, launch: &LaunchState, at: usize) {
        let Group { pc, depth, mask, ran_at, .. } = self.groups[at];
        if depth == 0 {
            self.exit(at);
            return;
        }
        let code = &launch.kernel.code;
        let returning = &code.functions[code.function_of(pc)];
        self.groups.swap_remove(at);
        let mut left = mask;
        while left != 0 {
            let frame = &self.frames[depth as usize];
            let back = frame.return_pc[left.trailing_zeros() as usize];
            let same = lanes_of(left)
                .filter(|&lane| frame.return_pc[lane] == back)
                .fold(0, |all, lane| all | 1u32 << lane);
            left &= !same;
            self.groups.push(Group { pc: back, depth: depth - 1, mask: same, state: State::Ready, ran_at });
            let site = match code.insts[back as usize - 1].run {
                Run::Call => &code.calls[code.insts[back as usize - 1].target as usize],
                _ => continue,
            };
            for lane in lanes_of(same) {
                let callee = self.frames[depth as usize].local_base[lane];
                let caller = self.frames[depth as usize - 1].local_base[lane];
                self.copy_local(lane, callee, &returning.returns, caller, &site.results);
            }
        }
    }

    /// Group `at` jumps by a table; lanes with different targets part.
    pub(super) fn branch_indexed(&mut self, launch: &LaunchState, at: usize) -> Result<(), Trap> {
        let code: &Code = &launch.kernel.code;
        let Group { pc, depth, mask, state, ran_at } = self.groups[at];
        let inst = &code.insts[pc as usize];
        let table = &code.branch_tables[inst.target as usize];
        let indices = *read::<u32>(&self.frames[depth as usize], inst.a);
        self.groups.swap_remove(at);
        let mut left = mask;
        while left != 0 {
            let first = left.trailing_zeros() as usize;
            let index = indices[first];
            let Some(&target) = table.get(index as usize) else {
                return Err(Trap::new(FaultKind::InvalidPc, first, index.into()));
            };
            let same =
                lanes_of(left).filter(|&lane| indices[lane] == index).fold(0, |all, lane| all | 1u32 << lane);
            left &= !same;
            self.groups.push(Group { pc: target, depth, mask: same, state, ran_at });
        }
        Ok(())
    }
}
