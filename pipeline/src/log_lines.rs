//! Log lines on their way out: a bounded buffer, and one thread that writes what is in it.
//!
//! Logging never waits for the reader, and never fails: where nobody reads any more, the disk is
//! full or the reader is too slow, lines are lost, and counted in `gochat_log_lines_lost_total`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Most bytes that wait to be written; more are lost.
const BUFFER_BYTES_MAX: usize = 1 << 20;
/// How long the end of a process waits for what is in the buffer.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// Where lines are handed in. Clones share the buffer.
#[derive(Debug, Clone)]
pub struct LogLines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    buffer: Mutex<Buffer>,
    /// Something waits, or was written.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Buffer {
    waiting: Vec<u8>,
    /// The thread is at work on what waited before.
    writing: bool,
    /// Lines that had no room since the last that was written.
    lost: u64,
}

/// Flushes what waits when it is dropped, within a second.
#[derive(Debug)]
#[must_use = "dropping it flushes the log"]
pub struct Flush(LogLines);

impl LogLines {
    /// Lines for stdout, and what flushes them.
    pub fn to_stdout() -> io::Result<(Self, Flush)> {
        Self::to(File::from(io::stdout().as_fd().try_clone_to_owned()?))
    }

    fn to(file: File) -> io::Result<(Self, Flush)> {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        std::thread::Builder::new().name("log-lines".into()).spawn(move || shared.write(file))?;
        Ok((lines.clone(), Flush(lines)))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut file: File) {
        let (mut batch, mut works) = (Vec::new(), true);
        loop {
            let mut buffer = self.lock();
            while buffer.waiting.is_empty() {
                buffer = self.changed.wait(buffer).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut batch, &mut buffer.waiting);
            buffer.writing = true;
            let lost = std::mem::take(&mut buffer.lost);
            drop(buffer);
            match file.write_all(&batch) {
                Ok(()) => {
                    works = true;
                    if lost > 0 {
                        tracing::warn!(lines = lost, "log lines were lost: their reader is too slow");
                    }
                }
                Err(error) => {
                    count_lost(batch.iter().filter(|&&b| b == b'\n').count() as u64);
                    if std::mem::take(&mut works) {
                        let told = "the log can't be written to stdout, and its lines are lost";
                        let _ = writeln!(io::stderr(), "gochat: {told}: {error}");
                    }
                }
            }
            batch.clear();
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }
}

fn count_lost(lines: u64) {
    metrics::counter!("gochat_log_lines_lost_total").increment(lines);
}

impl Write for LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut buffer = self.0.lock();
        if buffer.waiting.len() + line.len() <= BUFFER_BYTES_MAX {
            buffer.waiting.extend_from_slice(line);
            drop(buffer);
            self.0.changed.notify_all();
        } else {
            buffer.lost += 1;
            drop(buffer);
            count_lost(1);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let Shared { changed, .. } = &*self.0.0;
        let waits = |buffer: &mut Buffer| buffer.writing || !buffer.waiting.is_empty();
        // Do not wait longer for a reader that does not read.
        drop(changed.wait_timeout_while(self.0.0.lock(), FLUSH_TIME_MAX, waits));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn lines_come_out_in_order_and_all_of_them_at_the_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (mut lines, flush) = LogLines::to(file.reopen().unwrap()).unwrap();
        for n in 0..1_000 {
            writeln!(lines, "{n}").unwrap();
        }
        drop(flush);
        let expected: String = (0..1_000).map(|n| format!("{n}\n")).collect();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), expected);
    }

    #[test]
    fn a_pipe_that_nobody_reads_costs_lines_and_never_stops_whoever_logs() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (mut lines, flush) = LogLines::to(File::from(std::os::fd::OwnedFd::from(writer))).unwrap();
        let line = [[b'x'; 1_023].as_slice(), b"\n"].concat();
        for _ in 0..4 * BUFFER_BYTES_MAX / line.len() {
            lines.write_all(&line).unwrap();
        }
        let buffer = lines.0.lock();
        assert!(buffer.waiting.len() <= BUFFER_BYTES_MAX && buffer.lost > 0);
        drop(buffer);
        // Waits for no longer than its time, although nothing is read.
        drop(flush);
        // Once somebody reads again it goes on.
        let (late, mut read) = ([b'y'; 8], vec![0; 1 << 16]);
        while !read.windows(late.len()).any(|part| part == late) {
            lines.write_all(&late).unwrap();
            assert!(reader.read(&mut read).unwrap() > 0);
        }
    }

    #[test]
    fn a_pipe_whose_reader_has_gone_and_a_full_disk_cost_lines_only() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let full = File::options().write(true).open("/dev/full").unwrap();
        for file in [File::from(std::os::fd::OwnedFd::from(writer)), full] {
            let (mut lines, flush) = LogLines::to(file).unwrap();
            for _ in 0..100 {
                writeln!(lines, "line").unwrap();
            }
            drop(flush);
            assert!(lines.0.lock().waiting.is_empty(), "the thread goes on and takes them");
        }
    }
}
