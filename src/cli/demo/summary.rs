//! What is told at the end: every mishap beside what became of it, and texts laid out for the width there is.

use std::io::IsTerminal;

use retraced_jobs::job::JobId;

use super::handlers::HERO;
use super::play::{End, SHOP};
use super::story::{Mishap, Story, Trouble, soon};
use crate::cli::error::CliError;
use crate::cli::output::{Output, jobs, printable};
use crate::cli::shape::{JobShape, StatsShape};
use crate::{Operator, Trace};

/// Columns where there is no terminal to ask.
const WIDTH_DEFAULT: usize = 100;

/// Least and most columns a table or a story is laid out for.
const WIDTH_MIN: usize = 20;
const WIDTH_MAX: usize = 110;
/// The left column of a table, at most.
const LEFT_MAX: usize = 36;
/// Columns below which there is one column of text instead of two.
const NARROW: usize = 60;

/// Tells the end: what went wrong and what became of it, the counts, and the story of the most interesting job.
pub(super) async fn conclude(out: &Output, operator: &Operator, story: &Story, end: End) -> Result<(), CliError> {
    let on_terminal = std::io::stdout().is_terminal();
    let size = if on_terminal { ratatui::crossterm::terminal::size().ok() } else { None };
    let width = size.map(|(columns, _)| usize::from(columns));
    let say = |text: &str| match (out.is_json(), width) {
        (true, _) => Ok(()),
        (false, Some(width)) => out.line(&fitted(text, width)),
        (false, None) => out.line(text),
    };
    let (at, all) = (story.done.unwrap_or(story.now).as_secs_f64(), jobs(story.jobs));
    if end == End::Quit {
        say(&format!("Ended after {at:.1}s, as asked: {} of {all} had come to an end.", story.ended()))?;
    }
    let mishaps = mishaps(story);
    if !mishaps.is_empty() && !out.is_json() {
        out.line("")?;
        out.line(&two_columns(["WHAT WENT WRONG", "WHAT BECAME OF IT"], &mishaps, width.unwrap_or(WIDTH_DEFAULT)))?;
    }
    if end == End::Quit {
        return Ok(());
    }
    say("")?;
    counts(out, story, width.unwrap_or(WIDTH_DEFAULT))?;
    let told = story.queues.iter().map(|(queue, _)| queue).find(|queue| queue.as_str() == SHOP);
    if let (Some(queue), Ok(id)) = (told, JobId::parse(HERO))
        && let Some(view) = operator.job(queue, &id).await?
    {
        say("")?;
        say("The story of one job, as `retraced trace` tells it of any:")?;
        say("")?;
        if out.is_json() {
            out.result(&JobShape::of(&view), String::new)?;
        } else {
            say(&Trace::from(view).to_string())?;
        }
    }
    let (taken, ended, open) = (story.taken(), story.ended(), story.open());
    if ended + open != taken {
        return Err(CliError::Failed(format!(
            "{ended} of {} ended, {open} are open: that does not add up",
            jobs(taken)
        )));
    }
    say("")?;
    match end {
        End::TimeUp => {
            say(&format!("The time is up: {ended} of {all} came to an end within {at:.0}s; none was lost."))?
        }
        End::Done | End::Quit => say(&format!("All {all} came to an end within {at:.1}s; none was lost."))?,
    }
    Ok(())
}

/// How many jobs ended how, by queue.
fn counts(out: &Output, story: &Story, width: usize) -> std::io::Result<()> {
    type Count = (&'static str, fn(&StatsShape) -> u64);
    let columns: [Count; 6] = [
        ("COMPLETED", |row| row.completed),
        ("DEAD", |row| row.dead),
        ("POISONED", |row| row.poisoned),
        ("ENQUEUED", |row| row.enqueued),
        ("FAILED TRIES", |row| row.failures),
        ("HANDED BACK", |row| row.releases),
    ];
    let names = story.queues.iter().map(|(queue, _)| queue.as_str().len()).max().unwrap_or(0).max("QUEUE".len());
    // As many as there is room for, the most telling first.
    let mut used = names;
    let fitting = columns.iter().take_while(|(header, _)| {
        used += 2 + header.len();
        used <= width
    });
    let columns: Vec<_> = fitting.collect();
    let headers: Vec<&str> = std::iter::once("QUEUE").chain(columns.iter().map(|(header, _)| *header)).collect();
    let rows: Vec<_> = story.queues.iter().map(|(queue, stats)| StatsShape::of(queue.clone(), stats.clone())).collect();
    out.results(&rows, &headers, |row| {
        std::iter::once(row.queue.to_string()).chain(columns.iter().map(|(_, count)| count(row).to_string())).collect()
    })
}

/// What went wrong, and what became of it: a row for each mishap, and for the small ones together.
pub(super) fn mishaps(story: &Story) -> Vec<[String; 2]> {
    let mut rows: Vec<[String; 2]> = story.mishaps.iter().map(row).collect();
    let told = |trouble: &Trouble| match trouble {
        Trouble::Panicked { job, .. } | Trouble::Hung { job } | Trouble::Poisoned { job } | Trouble::Died { job } => {
            Some(job.clone())
        }
        Trouble::Killed { .. } | Trouble::Crashed { .. } => None,
    };
    let told: Vec<_> = story.mishaps.iter().filter_map(|mishap| told(&mishap.trouble)).collect();
    let retried = story.retried.iter().filter(|job| !told.contains(job)).count() as u64;
    if retried > 0 {
        rows.push([format!("{} failed once", jobs(retried)), "tried again after a wait".into()]);
    }
    if story.put_off > 0 {
        rows.push([format!("{} asked for later", jobs(story.put_off)), "put off, at no cost".into()]);
    }
    rows
}

fn row(Mishap { trouble, mended_ms }: &Mishap) -> [String; 2] {
    let back = mended_ms.map_or_else(|| "not replaced yet".to_owned(), |ms| format!("replaced {}", soon(ms)));
    match trouble {
        Trouble::Panicked { job, message, executor } => [
            format!("{job} panicked: {}", printable(message)),
            format!("{executor} ended with it: {back}; the job was tried again"),
        ],
        Trouble::Hung { job } => [format!("{job} hung"), "stopped when its time was up, and tried again".into()],
        Trouble::Killed { path, below: 0, running } => match &running[..] {
            [] => [format!("{path} was killed"), format!("{back}; the jobs that ran noticed nothing")],
            [job, ..] => [
                format!("{path} was killed in the middle of {job}"),
                format!("{back}; the job went back to the front of its queue, at no cost"),
            ],
        },
        Trouble::Killed { path, below, running } => [
            format!("all of {path} was killed: {} actors, {} running", below + 1, jobs(running.len() as u64)),
            match mended_ms {
                Some(ms) => format!("all were back {}; the jobs ran again, at no cost", soon(*ms)),
                None => back,
            },
        ],
        Trouble::Crashed { path, reason } => [format!("{path} crashed: {}", printable(reason)), back],
        Trouble::Poisoned { job } => {
            [format!("{job} can never work"), "set aside at once as poison; no retry was wasted on it".into()]
        }
        Trouble::Died { job } => [
            format!("{job} failed in every try"),
            "kept in the dead letter queue: look at it, mend the cause, redrive it".into(),
        ],
    }
}

/// Two columns, each wrapped by words; below each other where there is no room.
pub(super) fn two_columns(headers: [&str; 2], rows: &[[String; 2]], width: usize) -> String {
    let width = width.clamp(WIDTH_MIN, WIDTH_MAX);
    if width < NARROW {
        let stacked = rows.iter().flat_map(|[first, second]| {
            let second = wrapped(second, width - 2, 2).into_iter().map(|line| format!("  {line}"));
            wrapped(first, width, 2).into_iter().chain(second)
        });
        return stacked.collect::<Vec<_>>().join("\n") + "\n";
    }
    let widest = rows.iter().map(|[left, _]| left.chars().count()).chain([headers[0].len()]).max().unwrap_or(0);
    let left = widest.min(LEFT_MAX).min(width / 2);
    let right = width - left - 2;
    let mut text = String::new();
    let headers = headers.map(str::to_owned);
    for [first, second] in std::iter::once(&headers).chain(rows) {
        let (first, second) = (wrapped(first, left, 2), wrapped(second, right, 2));
        for n in 0..first.len().max(second.len()) {
            let cell = |column: &[String]| column.get(n).cloned().unwrap_or_default();
            text += format!("{:<left$}  {}", cell(&first), cell(&second)).trim_end();
            text.push('\n');
        }
    }
    text
}

/// A text of several lines, those that are too long continued below where their words begin.
pub(super) fn fitted(text: &str, width: usize) -> String {
    let width = width.clamp(WIDTH_MIN, WIDTH_MAX);
    let fit = |line: &str| {
        let own = line.chars().take_while(|c| *c == ' ').count();
        let body = line.trim_start();
        // Lines that begin with an instant go on below the text behind it.
        let hang = match (own, body.find("Z  ")) {
            (0, Some(at)) => at + 5,
            (0, None) => 2,
            _ => own + 2,
        };
        // Where there is no room for columns, there are none.
        let (own, hang) = if hang > width / 2 { (own.min(4), 6) } else { (own, hang) };
        let lines = wrapped(body, width - own, hang - own);
        lines.into_iter().map(|line| " ".repeat(own) + &line).collect::<Vec<_>>().join("\n")
    };
    text.lines().map(fit).collect::<Vec<_>>().join("\n")
}

/// Lines of at most this many characters, broken between words where there are any; all but the first begin with so many spaces.
pub(super) fn wrapped(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut words: Vec<&str> = text.split(' ').rev().collect();
    while let Some(word) = words.pop() {
        let begun = line.chars().any(|c| c != ' ');
        let gap = usize::from(begun);
        let (used, long) = (line.chars().count(), word.chars().count());
        if used + gap + long <= width {
            line += &" ".repeat(gap);
            line += word;
        } else if begun {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            words.push(word);
        } else {
            // A word longer than a line is cut.
            let cut = word.char_indices().nth(width.saturating_sub(used).max(1)).map_or(word.len(), |(at, _)| at);
            line += &word[..cut];
            if cut < word.len() {
                words.push(&word[cut..]);
                lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
            }
        }
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_wrapped_and_long_ones_cut() {
        assert_eq!(wrapped("one two three", 8, 2), ["one two", "  three"]);
        assert_eq!(wrapped("abcdefghij", 4, 1), ["abcd", " efg", " hij"]);
        assert_eq!(wrapped("two  spaces", 20, 0), ["two  spaces"]);
        assert_eq!(wrapped("", 4, 0), [""]);
        for width in 1..30 {
            for line in wrapped("a bb ccc dddd eeeee ✗↻◔ ffffff", width, 0) {
                assert!(line.chars().count() <= width, "{line:?} at {width}");
            }
        }
    }

    #[test]
    fn columns_stand_beside_each_other_at_any_width() {
        let rows = [["executor-1 was killed in the middle of email-83".into(), "the job went back, at no cost".into()]];
        assert_eq!(
            two_columns(["WRONG", "BECAME"], &rows, 62),
            "WRONG                            BECAME\n\
             executor-1 was killed in the     the job went back, at no cost\n\
             \u{20} middle of email-83\n"
        );
        assert_eq!(
            two_columns(["WRONG", "BECAME"], &rows, 40),
            "executor-1 was killed in the middle of\n  email-83\n  the job went back, at no cost\n"
        );
        for width in 0..200 {
            let text = two_columns(["WRONG", "BECAME"], &rows, width);
            assert!(text.lines().all(|line| line.chars().count() <= width.max(WIDTH_MIN)), "{text}");
        }
    }

    #[test]
    fn a_story_goes_on_below_its_words() {
        let told = "2026-11-25T16:07:53.773Z  attempt 1 panicked after 102ms · PANIC · worker 83980b3f executor-0#0\n\
                    \u{20}                         the image store hung up and it never came back, whatever we did";
        assert_eq!(
            fitted(told, 80),
            "2026-11-25T16:07:53.773Z  attempt 1 panicked after 102ms · PANIC · worker\n\
             \u{20}                           83980b3f executor-0#0\n\
             \u{20}                         the image store hung up and it never came back,\n\
             \u{20}                           whatever we did"
        );
        assert!(fitted(told, 20).lines().all(|line| line.chars().count() <= WIDTH_MIN));
    }
}
