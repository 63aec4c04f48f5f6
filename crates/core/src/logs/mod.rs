//! Logs: names of files, dates and receive times of lines, rotation, masking, and the lines that
//! explain why a program failed.

pub mod date_format;
pub mod error_lines;
pub mod files;
pub mod line_date;
pub mod line_times;
pub mod masking;
pub mod rotate;
