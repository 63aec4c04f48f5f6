//! Replacement of the stack walk, for a program that is linked without unwind tables
//! (`cargo xtask dist` passes `--cfg no_tables`).
//!
//! The standard library walks the stack for the backtrace of a panic and to unwind; here a panic
//! aborts the program. If the walk stops immediately, the linker drops libunwind and all code that
//! looks up functions and lines in debug information. That is a twentieth of the smallest program.

#![allow(non_snake_case, reason = "names of the ABI")]

use core::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK` of the Itanium ABI for exceptions.
const END_OF_STACK: c_int = 5;

/// Stops before the first frame.
// SAFETY: name and signature are those of the ABI, and no other library that is linked defines it.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_: extern "C" fn(*mut c_void, *mut c_void) -> c_int, _: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Defines functions of the same ABI that are never called, because no frame is walked or unwound.
/// It defines all of them: otherwise the linker would take one from libunwind and get the others
/// twice.
macro_rules! never_called {
    ($($name:ident)*) => {
        $(
            // SAFETY: the name is that of the ABI; the function never returns, so its signature does
            // not matter.
            #[unsafe(no_mangle)]
            extern "C" fn $name() -> ! {
                std::process::abort()
            }
        )*
    };
}

never_called! {
    _Unwind_DeleteException
    _Unwind_FindEnclosingFunction
    _Unwind_GetCFA
    _Unwind_GetDataRelBase
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_RaiseException
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
}
