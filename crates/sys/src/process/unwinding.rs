//! Walking the stack, in a program that is linked without the tables for it (`cargo xtask dist` passes `--cfg no_tables`): there is none to walk.
//!
//! The standard library would do it for the backtrace of a panic, and to unwind; here a panic ends the program. Where the walk ends at once, everything
//! goes that would find names of functions and lines in a file of debug information, and libunwind with it: a twentieth of the least program.

#![allow(non_snake_case, reason = "names of the ABI")]

use core::ffi::{c_int, c_void};

/// `_URC_END_OF_STACK` of the Itanium ABI for exceptions.
const END_OF_STACK: c_int = 5;

/// Ends before the first frame.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_: extern "C" fn(*mut c_void, *mut c_void) -> c_int, _: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Functions of the same ABI that nobody calls where no frame is walked and none is unwound. All of them, or the linker takes libunwind's for one and has two
/// of the others.
macro_rules! never_called {
    ($($name:ident)*) => {
        $(
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
