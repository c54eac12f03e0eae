//! A machine that loses power, made of a disk with a volatile cache, FUSE to show it to the kernel, and a file system on top.

pub mod disk;
pub mod fuse;
pub mod volume;
