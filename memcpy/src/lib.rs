//! `memcpy` and `memmove` for the static build on x86_64, in the place of musl's.
//!
//! JUSTIFICATION: the only unsafe code here. A TLS handshake copies some five hundred times, most of the time less than 64 bytes: keys,
//! hashes, labels. musl's `memcpy` is `rep movsq` for any length, which takes some thirty cycles to begin, and so took 7 % of
//! a resumption's time; this one takes 2 %. Under glibc, and on other processors, the C library's own is good, and nothing of this is linked.
//!
//! Everything is loaded before anything is stored, or copied in the order that keeps what is still to be read. So one function
//! does for both: `memmove` may be given areas that overlap.

#![no_std]
#![cfg(all(target_arch = "x86_64", any(target_env = "musl", test)))]

#[cfg(test)]
extern crate std;

use core::arch::asm;
use core::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_storeu_si128};

/// Bytes of one register.
const WIDTH: usize = size_of::<__m128i>();

/// Bytes of one round of a loop.
const ROUND: usize = 4 * WIDTH;

/// Bytes that the string copy moves at a time.
const WORD: usize = 8;

/// From here on the processor's own string copy is faster than a loop.
const STRING: usize = 2048;

/// Four registers full, on their way.
struct Round([__m128i; 4]);

impl Round {
    /// # Safety
    /// [`ROUND`] bytes at `from` can be read.
    #[inline(always)]
    unsafe fn load(from: *const u8) -> Self {
        // SAFETY: by the caller's word; the load asks for no alignment.
        Self([0, 1, 2, 3].map(|part| unsafe { _mm_loadu_si128(from.add(part * WIDTH).cast()) }))
    }

    /// # Safety
    /// [`ROUND`] bytes at `to` can be written.
    #[inline(always)]
    unsafe fn store(self, to: *mut u8) {
        for (part, bytes) in self.0.into_iter().enumerate() {
            // SAFETY: by the caller's word; the store asks for no alignment.
            unsafe { _mm_storeu_si128(to.add(part * WIDTH).cast(), bytes) };
        }
    }
}

/// Copies `len` bytes, of at least one `T`, as the first and the last `T` of them, which may share bytes.
///
/// # Safety
/// `len` bytes at `from` can be read, and as many at `to` be written; `size_of::<T>() <= len <= 2 * size_of::<T>()`.
#[inline(always)]
unsafe fn both_ends<T>(to: *mut u8, from: *const u8, len: usize) {
    let last = len - size_of::<T>();
    // SAFETY: both lie within what the caller vouches for; neither asks for alignment.
    let ends = unsafe { (from.cast::<T>().read_unaligned(), from.add(last).cast::<T>().read_unaligned()) };
    // SAFETY: as above.
    unsafe {
        to.cast::<T>().write_unaligned(ends.0);
        to.add(last).cast::<T>().write_unaligned(ends.1);
    }
}

/// Copies `len` bytes from `from` to `to`; the two areas may overlap.
///
/// # Safety
/// `len` bytes at `from` can be read, and as many at `to` be written.
#[inline(always)]
unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: in each arm, by the caller's word and the arm's condition.
    unsafe {
        match len {
            0 => {}
            1 => *to = *from,
            2..=3 => both_ends::<u16>(to, from, len),
            4..=7 => both_ends::<u32>(to, from, len),
            8..=15 => both_ends::<u64>(to, from, len),
            16..=32 => both_ends::<__m128i>(to, from, len),
            33..=64 => both_ends::<[__m128i; 2]>(to, from, len),
            65..=128 => {
                let (first, last) = (Round::load(from), Round::load(from.add(len - ROUND)));
                first.store(to);
                last.store(to.add(len - ROUND));
            }
            // `to` lies within what is to be read, and a copy from the front would destroy that.
            _ if to.addr().wrapping_sub(from.addr()) < len => backward(to, from, len),
            _ => forward(to, from, len),
        }
    }
}

/// Copies from the front.
///
/// # Safety
/// As [`copy`], with `len > ROUND`, and `to` not behind `from` where the two overlap.
#[inline(always)]
unsafe fn forward(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: `len > ROUND`, so that both lie within what the caller vouches for. They are read before anything is written, for what
    // is written may overlap them.
    let (start, end) = unsafe { (Round::load(from), Round::load(from.add(len - ROUND))) };
    let mut done = 0;
    if len >= STRING {
        // The string copy is slow to a destination that is not aligned.
        done = ROUND - to.addr() % ROUND;
        let words = (len - done) / WORD;
        // SAFETY: `done + words * WORD <= len`. What is read has not been written, since writing stays behind reading. The
        // direction flag is clear, as the calling convention demands.
        unsafe {
            asm!("rep movsq", inout("rcx") words => _, inout("rdi") to.add(done) => _, inout("rsi") from.add(done) => _,
                options(nostack, preserves_flags));
        }
        // SAFETY: as for reading it. It covers what lies before `done`.
        unsafe { start.store(to) };
    } else {
        while len - done > ROUND {
            // SAFETY: `done + ROUND < len`; what is read has not been written, since writing stays behind reading.
            unsafe { Round::load(from.add(done)).store(to.add(done)) };
            done += ROUND;
        }
    }
    // SAFETY: as for reading it. It covers what is left of the words, or of the rounds.
    unsafe { end.store(to.add(len - ROUND)) };
}

/// Copies from the back.
///
/// # Safety
/// As [`copy`], with `len > ROUND`, and `to` behind `from`.
#[cold]
unsafe fn backward(to: *mut u8, from: *const u8, len: usize) {
    // SAFETY: `len > ROUND`. The start is read before anything is written, for what is written may overlap it.
    let start = unsafe { Round::load(from) };
    let mut left = len;
    while left > ROUND {
        left -= ROUND;
        // SAFETY: `left + ROUND <= len`; what is read has not been written, since writing stays behind reading.
        unsafe { Round::load(from.add(left)).store(to.add(left)) };
    }
    // SAFETY: as for reading it.
    unsafe { start.store(to) };
}

/// The symbols that take the place of the C library's. The linker finds these first, and so leaves out both of those.
#[cfg(not(test))]
mod symbols {
    /// As in C.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        // SAFETY: what C demands of its caller is what is demanded here, and more.
        unsafe { super::copy(to, from, len) };
        to
    }

    /// As in C.
    #[unsafe(no_mangle)]
    unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
        // SAFETY: what C demands of its caller is what is demanded here.
        unsafe { super::copy(to, from, len) };
        to
    }
}

#[cfg(test)]
mod tests {
    use super::copy;
    use std::vec::Vec;

    /// Around what is copied, to see that nothing else is written.
    const MARGIN: usize = 80;

    /// Copies `len` bytes within one area from `from` to `to`, and compares all of it with what a copy byte by byte gives.
    fn try_one(from: usize, to: usize, len: usize) {
        let before: Vec<u8> = (0..from.max(to) + len + MARGIN).map(|at| (at * 131 % 251) as u8).collect();
        let mut after = before.clone();
        // SAFETY: both areas end `MARGIN` bytes before the end of `after`.
        unsafe { copy(after.as_mut_ptr().add(to), after.as_ptr().add(from), len) };
        let copied = |at: usize| if (to..to + len).contains(&at) { before[at - to + from] } else { before[at] };
        let wrong = (0..after.len()).find(|at| after[*at] != copied(*at));
        assert_eq!(wrong, None, "{len} bytes from {from} to {to}");
    }

    #[test]
    fn every_short_length_arrives_whole_at_every_distance_and_touches_nothing_else() {
        for len in 0..=200 {
            for to in 0..=2 * len + 3 {
                try_one(MARGIN, to, len);
            }
            try_one(MARGIN, MARGIN + 2 * len, len);
        }
    }

    #[test]
    fn long_areas_arrive_whole_at_every_alignment_whether_they_overlap_or_not() {
        for len in [1000, 2047, 2048, 2049, 2111, 2112, 2113, 4096, 16_384 + 5] {
            for to in (0..=130).chain([MARGIN + len - 1, MARGIN + len, MARGIN + len + 1]) {
                try_one(MARGIN, to, len);
            }
        }
    }
}
