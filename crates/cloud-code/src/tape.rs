//! What a run has asked of the server, so that it can be begun again in another isolate without doing anything twice.
//!
//! ```text
//! first time: call ─▶ recorded, done ─▶ answer (kept)
//! again:      call ─▶ found on the tape ─▶ the kept answer, or the open one when it comes
//!                  └▶ not found ─▶ a write where another was made: refused; else done as usual
//! ```
//!
//! A run is begun again when its isolate died, or got stuck in somebody else's code, through no fault of its own. The
//! same code makes the same calls; what may differ is what it reads from its module's variables, which are another
//! isolate's now. So writes must come in the recorded order, to the recorded places (their values may hold a new
//! timestamp), while a read that is not on the tape is simply made.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio_util::sync::CancellationToken;

use crate::calls::{Answer, Call};
use crate::child::Child;
use crate::host::is_unsafe;

/// A run whose calls and answers take more than this is no longer recorded, and not begun again.
const MAX_BYTES: usize = 1024 * 1024;

/// Counted for each call beside its texts.
const OVERHEAD_BYTES: usize = 200;

#[derive(Default)]
pub(crate) struct Tape {
    calls: Vec<Arc<Asked>>,
    /// Where in `calls` the writes are, and how many this attempt has made.
    writes: Vec<usize>,
    writes_made: usize,
    /// Recorded reads that this attempt has not made, by what they ask.
    reads: HashMap<u64, Vec<usize>>,
    used: Arc<AtomicUsize>,
}

/// One call, from being asked to being answered, wherever its run is by then.
pub(crate) struct Asked {
    what: What,
    progress: Mutex<Progress>,
    /// Ends a fetch. Nothing else is ended: a transaction must not be dropped half-way.
    pub(crate) abort: CancellationToken,
    used: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Progress {
    answer: Option<Answer>,
    place: Option<Place>,
}

/// Who waits for an answer.
pub(crate) struct Place {
    pub child: Weak<Child>,
    pub run: u32,
    pub call: u32,
}

/// What a call asks, as far as a repetition must agree.
#[derive(Debug, PartialEq, Eq)]
struct What {
    is_write: bool,
    method: String,
    target: String,
    /// Of the whole call; only reads are compared by it.
    hash: u64,
}

/// What is to be done about a call.
pub(crate) enum Step {
    /// It is made now.
    New(Arc<Asked>),
    /// It was made before.
    Again(Arc<Asked>),
    /// A write was made here before, but another one.
    Astray,
}

impl Tape {
    /// Records a call, or finds it. `json`: the call as the isolate sent it.
    pub(crate) fn ask(&mut self, call: &Call, json: &str) -> Step {
        let what = What::of(call, json);
        if what.is_write {
            self.writes_made += 1;
            if let Some(&recorded) = self.writes.get(self.writes_made - 1) {
                let recorded = &self.calls[recorded];
                let same =
                    (&recorded.what.method, &recorded.what.target) == (&what.method, &what.target);
                return if same {
                    Step::Again(recorded.clone())
                } else {
                    Step::Astray
                };
            }
        } else if let Some(recorded) = self.reads.get_mut(&what.hash).and_then(Vec::pop) {
            return Step::Again(self.calls[recorded].clone());
        }
        Step::New(self.record(what))
    }

    fn record(&mut self, what: What) -> Arc<Asked> {
        let bytes = what.method.len() + what.target.len() + OVERHEAD_BYTES;
        let is_write = what.is_write;
        let asked = Arc::new(Asked::new(what, self.used.clone()));
        if self.used.fetch_add(bytes, Ordering::AcqRel) + bytes <= MAX_BYTES {
            if is_write {
                self.writes.push(self.calls.len());
            }
            self.calls.push(asked.clone());
        } else {
            (self.calls, self.writes, self.reads) = Default::default();
        }
        asked
    }

    /// True while everything is recorded, so that the run can be begun again.
    pub(crate) fn is_whole(&self) -> bool {
        self.used.load(Ordering::Acquire) <= MAX_BYTES
    }

    /// Prepares for another attempt. The last one's calls that are still open find their way by [`Asked::attach`].
    pub(crate) fn rewind(&mut self) {
        self.writes_made = 0;
        self.reads.clear();
        for (index, asked) in self.calls.iter().enumerate().rev() {
            asked.progress().place = None;
            if !asked.what.is_write {
                self.reads.entry(asked.what.hash).or_default().push(index);
            }
        }
    }
}

impl Drop for Tape {
    fn drop(&mut self) {
        self.calls.iter().for_each(|asked| asked.abort.cancel());
    }
}

impl Asked {
    fn new(what: What, used: Arc<AtomicUsize>) -> Asked {
        Asked {
            what,
            progress: Mutex::default(),
            abort: CancellationToken::new(),
            used,
        }
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress
            .lock()
            .expect("nothing panics while it holds this lock")
    }

    /// Has the answer brought to `place`, or gives it at once if it is there.
    pub(crate) fn attach(&self, place: Place) -> Option<Answer> {
        let mut progress = self.progress();
        if progress.answer.is_none() {
            progress.place = Some(place);
        }
        progress.answer.clone()
    }

    /// Keeps the answer and brings it to whoever waits.
    pub(crate) fn answered(&self, answer: Answer) {
        let bytes = answer.json.len();
        let is_kept = self.used.fetch_add(bytes, Ordering::AcqRel) + bytes <= MAX_BYTES;
        let mut progress = self.progress();
        let place = progress.place.take();
        if is_kept {
            progress.answer = Some(answer.clone());
        }
        drop(progress);
        if let Some(place) = place
            && let Some(child) = place.child.upgrade()
        {
            child.deliver(place.run, place.call, answer);
        }
    }
}

impl What {
    fn of(call: &Call, json: &str) -> What {
        let (is_write, method, target) = match call {
            Call::Rest(rest) => (rest.is_write(), &rest.method, &rest.path),
            Call::Fetch(request) => (is_unsafe(&request.method), &request.method, &request.url),
            // A job is never begun again.
            Call::Job(_) => (true, &String::new(), &String::new()),
            Call::Abort(_) => unreachable!("an abort asks nothing"),
        };
        // One key for the whole process: attempts of one run are compared with each other.
        static HASHER: OnceLock<RandomState> = OnceLock::new();
        let hash = if is_write {
            0
        } else {
            HASHER.get_or_init(RandomState::new).hash_one(json)
        };
        What {
            is_write,
            method: method.clone(),
            target: target.clone(),
            hash,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(tape: &mut Tape, method: &str, path: &str, body: u32) -> Step {
        let json =
            format!(r#"{{"kind":"rest","method":"{method}","path":"{path}","body":{body}}}"#);
        tape.ask(&Call::parse(&json, 0).unwrap(), &json)
    }

    fn kind(step: &Step) -> &'static str {
        match step {
            Step::New(_) => "new",
            Step::Again(_) => "again",
            Step::Astray => "astray",
        }
    }

    fn nobody() -> Place {
        Place {
            child: Weak::new(),
            run: 1,
            call: 1,
        }
    }

    fn answer(json: &str) -> Answer {
        Answer {
            ok: true,
            json: json.into(),
        }
    }

    #[test]
    fn a_repetition_finds_what_was_done_and_goes_on_where_it_ended() {
        let mut tape = Tape::default();
        let calls = [
            ("GET", "classes/A", 1),
            ("POST", "classes/B", 1),
            ("GET", "classes/A", 2),
            ("POST", "classes/B", 2),
        ];
        for (number, (method, path, body)) in calls.into_iter().enumerate() {
            let Step::New(asked) = ask(&mut tape, method, path, body) else {
                panic!("nothing is recorded yet")
            };
            asked.answered(answer(&number.to_string()));
        }
        tape.rewind();
        // Reads in any order, or not at all; writes in order, whatever they carry.
        for (method, path, body, expected) in [
            ("GET", "classes/A", 2, "2"),
            ("POST", "classes/B", 9, "1"),
            ("POST", "classes/B", 9, "3"),
        ] {
            let Step::Again(asked) = ask(&mut tape, method, path, body) else {
                panic!("{method} {path} is recorded")
            };
            assert_eq!(asked.attach(nobody()).unwrap().json, expected);
        }
        for (method, path, body) in [
            ("GET", "classes/A", 2),
            ("GET", "classes/C", 1),
            ("POST", "classes/B", 1),
        ] {
            assert_eq!(
                kind(&ask(&mut tape, method, path, body)),
                "new",
                "{method} {path}"
            );
        }
    }

    #[test]
    fn a_repetition_that_writes_elsewhere_is_caught() {
        let mut tape = Tape::default();
        ask(&mut tape, "POST", "classes/B", 1);
        tape.rewind();
        assert_eq!(kind(&ask(&mut tape, "POST", "classes/C", 1)), "astray");
        tape.rewind();
        assert_eq!(kind(&ask(&mut tape, "DELETE", "classes/B", 1)), "astray");
    }

    #[test]
    fn an_open_call_is_answered_where_its_run_is_then() {
        let mut tape = Tape::default();
        let Step::New(asked) = ask(&mut tape, "POST", "classes/B", 1) else {
            panic!("it is new")
        };
        assert!(asked.attach(nobody()).is_none());
        tape.rewind();
        let Step::Again(again) = ask(&mut tape, "POST", "classes/B", 1) else {
            panic!("it is recorded")
        };
        assert!(Arc::ptr_eq(&asked, &again) && again.attach(nobody()).is_none());
        asked.answered(answer("late"));
        assert_eq!(again.attach(nobody()).unwrap().json, "late");
    }

    #[test]
    fn a_tape_that_grew_too_long_is_dropped() {
        let mut tape = Tape::default();
        let Step::New(asked) = ask(&mut tape, "GET", "classes/A", 1) else {
            panic!("it is new")
        };
        asked.answered(answer(&"x".repeat(MAX_BYTES)));
        assert!(!tape.is_whole() && asked.attach(nobody()).is_none());
        let mut tape = Tape::default();
        for body in 0..MAX_BYTES as u32 / OVERHEAD_BYTES as u32 {
            ask(&mut tape, "GET", "classes/A", body);
        }
        assert!(!tape.is_whole() && tape.calls.is_empty());
    }

    #[test]
    fn the_fetches_of_a_run_end_with_it() {
        let mut tape = Tape::default();
        let Step::New(asked) = ask(&mut tape, "GET", "x", 1) else {
            panic!("it is new")
        };
        drop(tape);
        assert!(asked.abort.is_cancelled());
    }
}
