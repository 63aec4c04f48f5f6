//! What `ps` shows of us.

use std::ffi::CString;

use rustix::io::Errno;

/// Sets the short name of the calling thread (`comm`, 15 bytes; the kernel cuts the rest). The long one is `argv[0]`, given at `execve`.
///
/// # Errors
/// None in practice; `EINVAL` for a name with a NUL.
pub fn set_comm(name: &str) -> Result<(), Errno> {
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    rustix::thread::set_name(&name)
}
