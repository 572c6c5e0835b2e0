//! The live view: draws the timeline at any size of the terminal. What does not fit is left out, the least important first.

use std::time::Duration;

use ratatui::Frame;
use ratatui::text::Text;
use retraced::store::QueueStats;
use retraced::{NodeState, RunningJob, TreeNode};

use super::page::wrapped;
use super::row::{Row, Tone, cut};
use super::timeline::{Mark, Timeline};
use crate::limits::{BAR_COLUMNS_MIN, MESSAGE_COLUMNS_MIN};

/// How long a restarted actor is marked as new.
const FRESH: Duration = Duration::from_secs(3);
/// How much time the axis covers; a demo that takes longer rescales it.
const AXIS: Duration = Duration::from_secs(11);
/// Columns below which the log has no times, and executors no kinds.
const NARROW: usize = 64;
/// Columns of the actors' names in the whole tree, branches included.
const NAMES: usize = 28;
/// Columns of the executors' names in the compact tree, whose branches are shorter.
const COMPACT_NAMES: usize = 23;
/// Columns that the counts of a queue leave for its name.
const QUEUE_NAMES: usize = 14;
/// The same where only queues are drawn, without branches.
const BARE_QUEUE_NAMES: usize = 8;
/// Columns of the id of an executor's job.
const JOB_COLUMNS: usize = 14;
/// Columns of the kind of an executor's job.
const KIND_COLUMNS: usize = 16;

/// How much of the tree is drawn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// A row for each actor.
    Whole,
    /// A row for each queue and each executor. The other actors of a queue share a row, and so do the actors of no queue; actors below another follow it in brackets.
    Compact,
    /// Queues and executors only.
    Executors,
    /// Queues only.
    Queues,
    Nothing,
}

/// Layouts, the fullest first: how much of the tree, whether with the time axis and the caption, and the least rows of the log. The first that fits is drawn.
const PLANS: [(Tree, bool, usize); 6] = [
    (Tree::Whole, true, 4),
    (Tree::Compact, true, 4),
    (Tree::Executors, true, 4),
    (Tree::Executors, false, 4),
    (Tree::Queues, false, 3),
    (Tree::Nothing, false, 1),
];

/// Draws the timeline on the whole frame.
pub(super) fn draw(timeline: &Timeline, colour: bool, frame: &mut Frame) {
    let area = frame.area();
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    let rows: Vec<_> = rows(timeline, width, height).into_iter().map(|row| row.drawn(width, colour)).collect();
    frame.render_widget(Text::from(rows), area);
}

fn rows(timeline: &Timeline, width: usize, height: usize) -> Vec<Row> {
    let plan = |(tree, captioned, log): &(Tree, bool, usize)| {
        let mut rows = vec![title(timeline, width)];
        if *captioned {
            rows.push(time_axis(timeline, width));
            rows.extend(caption(timeline, width));
        }
        rows.extend(tree_rows(timeline, *tree, width));
        rows.push(divider(width));
        (rows.len() + log <= height).then_some(rows)
    };
    let mut rows = PLANS.iter().find_map(plan).unwrap_or_else(|| vec![title(timeline, width)]);
    let log = height.saturating_sub(rows.len());
    rows.extend(timeline.lines[timeline.lines.len().saturating_sub(log)..].iter().map(|line| log_row(line, width)));
    rows
}

// --- the head

/// The first row: the text to the left of the progress bar, the width of the bar (0 if there is no space for it), and the text to the right.
fn head(timeline: &Timeline, width: usize) -> (&'static str, usize, String) {
    let (ended, all, at) = (timeline.ended(), timeline.jobs, timeline.now.as_secs_f64());
    let forms = [
        ("retraced demo  ", format!("  {ended:>3} of {all} jobs ended  {at:4.1}s  q quits")),
        ("", format!("  {ended} of {all} jobs  {at:.1}s  q quits")),
        ("", format!("  {ended}/{all} {at:.1}s")),
    ];
    let bar = |left: &str, right: &str| width.saturating_sub(left.len() + right.len());
    let with_bar = |(left, right): (&'static str, String)| (left, bar(left, &right), right);
    let fits = forms.into_iter().map(with_bar).find(|(_, bar, _)| *bar >= BAR_COLUMNS_MIN);
    fits.unwrap_or_else(|| ("", 0, format!("{ended}/{all} {at:.1}s")))
}

fn title(timeline: &Timeline, width: usize) -> Row {
    let (left, bar, right) = head(timeline, width);
    let part = timeline.ended() as f64 / timeline.jobs.max(1) as f64;
    let full = ((bar as f64 * part) as usize).min(bar);
    Row::default()
        .put(left, Tone::Bold)
        .put("█".repeat(full), Tone::Plain)
        .put("░".repeat(bar - full), Tone::Dim)
        .put(right, Tone::Plain)
}

/// The time axis: a mark when something went wrong, was delayed or recovered.
fn time_axis(timeline: &Timeline, width: usize) -> Row {
    const ENDS: usize = "0s ".len() + " 11s".len();
    let scale = AXIS.max(timeline.now);
    let length = width.saturating_sub(ENDS).max(1);
    let column = |at: Duration| ((at.as_secs_f64() / scale.as_secs_f64() * length as f64) as usize).min(length - 1);
    let mut marks = vec![None; length];
    for line in timeline.lines.iter().filter(|line| line.mark != Mark::Note) {
        let at = column(line.at);
        // A recovery in the same column stands beside its cause.
        let beside = line.mark == Mark::Recovered && marks[at] == Some(Mark::Failed) && at + 1 < length;
        let mark = &mut marks[if beside { at + 1 } else { at }];
        *mark = (*mark).max(Some(line.mark));
    }
    let now = column(timeline.now);
    let row = marks.iter().enumerate().fold(Row::default().put("0s ", Tone::Dim), |row, (at, mark)| match mark {
        Some(mark) => row.put(mark.glyph(), Tone::Marked(*mark)),
        None if at <= now => row.put("─", Tone::Dim),
        None => row.put("┈", Tone::Dim),
    });
    row.put(format!("{:>3.0}s", scale.as_secs_f64()), Tone::Dim)
}

/// The caption. It always takes two rows, so that nothing below moves.
fn caption(timeline: &Timeline, width: usize) -> [Row; 2] {
    let mut lines = wrapped(&timeline.caption, width.max(1), 0).into_iter();
    let first = lines.next().unwrap_or_default();
    let second = lines.collect::<Vec<_>>().join(" ");
    [first, second].map(|text| Row::default().put(text, Tone::Bold))
}

/// The line between tree and log, which explains the marks.
fn divider(width: usize) -> Row {
    let legend = |entries: &[(&str, &str, Tone)]| {
        entries.iter().fold(Row::default().put("── ", Tone::Dim), |row, (mark, text, tone)| {
            row.put(*mark, *tone).put(format!(" {text}  "), Tone::Dim)
        })
    };
    let [failed, recovered, later] =
        [Mark::Failed, Mark::Recovered, Mark::Later].map(|mark| (mark.glyph(), Tone::Marked(mark)));
    let forms = [
        legend(&[
            (failed.0, "went wrong", failed.1),
            (recovered.0, "recovered", recovered.1),
            (later.0, "delayed", later.1),
            ("#n", "restarted n times", Tone::Plain),
        ]),
        legend(&[(failed.0, "wrong", failed.1), (recovered.0, "recovered", recovered.1), (later.0, "later", later.1)]),
    ];
    let fits = forms.into_iter().find(|row| row.width() <= width).unwrap_or_default();
    let rest = width.saturating_sub(fits.width());
    fits.put("─".repeat(rest), Tone::Dim)
}

// --- the tree

fn tree_rows(timeline: &Timeline, form: Tree, width: usize) -> Vec<Row> {
    let Some(root) = &timeline.tree else { return Vec::new() };
    let counts = CountColumns::fitting(width, if form == Tree::Queues { BARE_QUEUE_NAMES } else { QUEUE_NAMES });
    let mut rows = vec![counts.head(Row::default().put(root.name(), Tone::Bold))];
    let is_queue = |node: &TreeNode| !node.children.is_empty();
    let (queues, services): (Vec<&TreeNode>, Vec<&TreeNode>) = root.children.iter().partition(|child| is_queue(child));
    match form {
        Tree::Whole => {
            let last = root.children.len().saturating_sub(1);
            for (index, child) in root.children.iter().enumerate() {
                push_subtree(timeline, &counts, child, "", index == last, width, &mut rows);
            }
        }
        Tree::Compact | Tree::Executors | Tree::Queues => {
            if form == Tree::Compact {
                rows.extend(shared_rows(timeline, ("├─ ", "│  "), &services, width));
            }
            for (index, queue) in queues.iter().enumerate() {
                let last = index + 1 == queues.len();
                let branch = if form == Tree::Queues { "" } else { branch_glyph(last) };
                let row = label(timeline, Row::default().put(branch, Tone::Dim), queue, Tone::Bold);
                rows.push(counts.row(row, timeline, queue));
                let below = if last { "   " } else { "│  " };
                if form == Tree::Compact {
                    let actors: Vec<&TreeNode> = queue.children.iter().collect();
                    let (branch, continued) = (format!("{below}├─ "), format!("{below}│  "));
                    rows.extend(shared_rows(timeline, (&branch, &continued), &actors, width));
                }
                if form != Tree::Queues {
                    let executors: Vec<&TreeNode> = queue.all().into_iter().filter(|node| is_executor(node)).collect();
                    for (index, executor) in executors.iter().enumerate() {
                        let branch = format!("{below}{}", branch_glyph(index + 1 == executors.len()));
                        rows.push(executor_row(
                            timeline,
                            Row::default().put(branch, Tone::Dim),
                            executor,
                            COMPACT_NAMES,
                            width,
                        ));
                    }
                }
            }
        }
        Tree::Nothing => rows.clear(),
    }
    rows
}

fn branch_glyph(last: bool) -> &'static str {
    if last { "└─ " } else { "├─ " }
}

/// Adds a row for this actor and for each actor below it.
fn push_subtree(
    timeline: &Timeline,
    counts: &CountColumns,
    node: &TreeNode,
    indent: &str,
    last: bool,
    width: usize,
    rows: &mut Vec<Row>,
) {
    let row = Row::default().put(format!("{indent}{}", branch_glyph(last)), Tone::Dim);
    let is_queue = timeline.queues.iter().any(|(queue, _)| queue.as_str() == node.path);
    let below = format!("{indent}{}", if last { "   " } else { "│  " });
    rows.push(if is_queue {
        counts.row(label(timeline, row, node, Tone::Bold), timeline, node)
    } else if is_executor(node) {
        executor_row(timeline, row, node, NAMES, width)
    } else {
        let row = label(timeline, row, node, Tone::Plain).pad_to(NAMES);
        match (node.state, fresh(timeline, node)) {
            (NodeState::Up, None) => row.put(duty(node.name()), Tone::Dim),
            (NodeState::Up, Some(ago)) => {
                row.put(format!("restarted {:.1}s ago", ago.as_secs_f64()), Tone::Marked(Mark::Recovered))
            }
            _ => row.put("is being restarted", Tone::Marked(Mark::Failed)),
        }
    });
    let last = node.children.len().saturating_sub(1);
    for (index, child) in node.children.iter().enumerate() {
        push_subtree(timeline, counts, child, &below, index == last, width, rows);
    }
}

fn is_executor(node: &TreeNode) -> bool {
    node.name().starts_with("executor-")
}

/// These actors, several to a row, each with those below it in parentheses. The first row begins with the first text, each further row with the second.
fn shared_rows(timeline: &Timeline, (branch, continued): (&str, &str), nodes: &[&TreeNode], width: usize) -> Vec<Row> {
    let mut rows = vec![Row::default().put(branch, Tone::Dim)];
    for (index, node) in nodes.iter().enumerate() {
        let named = with_actors_below(timeline, Row::default(), node);
        let row = rows.pop().unwrap_or_default();
        if index == 0 {
            rows.push(row.append(named));
        } else if row.width() + 1 + named.width() <= width {
            rows.push(row.put(" ", Tone::Plain).append(named));
        } else {
            rows.extend([row, Row::default().put(continued, Tone::Dim).append(named)]);
        }
    }
    rows
}

/// Adds this actor, and those below it except executors in parentheses.
fn with_actors_below(timeline: &Timeline, row: Row, node: &TreeNode) -> Row {
    let row = label(timeline, row, node, Tone::Plain);
    let below: Vec<&TreeNode> = node.children.iter().filter(|child| !is_executor(child)).collect();
    let Some((first, others)) = below.split_first() else { return row };
    let row = with_actors_below(timeline, row.put(" (", Tone::Dim), first);
    let row = others.iter().fold(row, |row, child| with_actors_below(timeline, row.put(" ", Tone::Plain), child));
    row.put(")", Tone::Dim)
}

/// Adds an actor's name, its generation if it is not the first, and a mark if it was just restarted or does not run.
fn label(timeline: &Timeline, row: Row, node: &TreeNode, tone: Tone) -> Row {
    let named = row.put(node.name(), tone);
    let fresh = fresh(timeline, node).is_some();
    let named = match node.generation {
        0 => named,
        n if fresh => named.put(format!("#{n} {}", Mark::Recovered.glyph()), Tone::Marked(Mark::Recovered)),
        n => named.put(format!("#{n}"), Tone::Plain),
    };
    match node.state {
        NodeState::Up => named,
        NodeState::Closed => named.put(" ✗ closed", Tone::Marked(Mark::Failed)),
        _ => named.put(" ✗ down", Tone::Marked(Mark::Failed)),
    }
}

fn fresh(timeline: &Timeline, node: &TreeNode) -> Option<Duration> {
    timeline.restarted_ago(&node.path).filter(|ago| *ago < FRESH)
}

fn executor_row(timeline: &Timeline, row: Row, node: &TreeNode, column: usize, width: usize) -> Row {
    let row = label(timeline, row, node, Tone::Plain);
    let Some(RunningJob { job, kind, attempt, ran, .. }) = &node.running else {
        return row.pad_to(column.min(width / 2)).put(if node.state == NodeState::Up { "idle" } else { "" }, Tone::Dim);
    };
    let ran = format!("{:.1}s", ran.as_secs_f64());
    if width < NARROW {
        return row.pad_to(width / 2).put(format!("{job}  {ran}"), Tone::Plain);
    }
    let kind = kind.as_ref().map_or("", |kind| kind.as_str());
    let number = if *attempt > 1 { Tone::Bold } else { Tone::Dim };
    row.pad_to(column)
        .put(format!("{:<JOB_COLUMNS$}", job.to_string()), Tone::Plain)
        .put(format!("{kind:<KIND_COLUMNS$}"), Tone::Dim)
        .put(format!("attempt {attempt}"), number)
        .put(format!("{ran:>7}"), Tone::Plain)
}

/// What an actor does, by its name.
fn duty(name: &str) -> &'static str {
    match name {
        "ledger" => "writes supervision events to the store",
        "store-link" => "reports an outage once; every actor then waits for the store",
        "lease-keeper" => "renews the leases of this worker",
        "settler" => "sends outcomes to the store until it confirms them",
        "queue" => "accepts new jobs",
        "workers" => "restarts what claims, runs and settles jobs",
        "pool" => "replaces executors that end",
        "fetcher" => "claims jobs for idle executors",
        "retry-scheduler" => "makes due jobs pending",
        "reclaimer" => "takes back the jobs of dead workers",
        "janitor" => "trims ended jobs and audits the queues",
        "watchdog" => "reports handlers that hang, and settles their attempts",
        _ => "",
    }
}

// --- the queues

type CountColumn = (&'static str, fn(&QueueStats) -> u64);

/// Spaces before each column of the long form. The other forms have one.
const LONG_GAP: usize = 2;
const LONG: &[CountColumn] = &[
    ("pending", |stats| stats.pending),
    ("processing", |stats| stats.processing),
    ("delayed", |stats| stats.delayed),
    ("completed", |stats| stats.completed_total),
    ("dead", |stats| stats.dead),
    ("poisoned", |stats| stats.poisoned),
];
const SHORT: &[CountColumn] = &[
    ("pend", |stats| stats.pending),
    ("proc", |stats| stats.processing),
    ("delay", |stats| stats.delayed),
    ("done", |stats| stats.completed_total),
    ("dead", |stats| stats.dead),
    ("pois", |stats| stats.poisoned),
];
const FEWEST: &[CountColumn] = &[("pend", |stats| stats.pending), ("done", |stats| stats.completed_total)];

/// The columns with the number of jobs of a queue in each state.
struct CountColumns {
    columns: &'static [CountColumn],
    /// The column of the terminal where they begin.
    from: usize,
    gap: usize,
}

impl CountColumns {
    /// The longest form that fits beside names of this many columns.
    fn fitting(width: usize, names: usize) -> Self {
        let widths = |columns: &[CountColumn], gap| columns.iter().map(|(name, _)| name.len() + gap).sum::<usize>();
        let forms = [(LONG, LONG_GAP), (SHORT, 1), (FEWEST, 1)];
        let fits = forms.into_iter().find(|(columns, gap)| names + widths(columns, *gap) <= width);
        let (columns, gap) = fits.unwrap_or((FEWEST, 1));
        // The gap before the first count is its own, so the counts begin in line with the texts behind the actors' names.
        let from = width.saturating_sub(widths(columns, gap)).min(NAMES - LONG_GAP);
        Self { columns, from, gap }
    }

    fn head(&self, row: Row) -> Row {
        let row = row.pad_to(self.from);
        self.columns.iter().fold(row, |row, (name, _)| row.put(format!("{}{name}", " ".repeat(self.gap)), Tone::Dim))
    }

    fn row(&self, row: Row, timeline: &Timeline, queue: &TreeNode) -> Row {
        let stats = timeline.queues.iter().find(|(name, _)| name.as_str() == queue.path).map(|(_, stats)| stats);
        let Some(stats) = stats else { return row };
        let row = row.pad_to(self.from);
        self.columns.iter().fold(row, |row, (name, count_in)| {
            let count = count_in(stats);
            let tone = if count == 0 { Tone::Dim } else { Tone::Plain };
            row.put(format!("{count:>0$}", name.len() + self.gap), tone)
        })
    }
}

// --- the log

fn log_row(line: &super::timeline::Line, width: usize) -> Row {
    let mut row = Row::default();
    if width >= NARROW {
        row = row.put(format!("{:4.1}s ", line.at.as_secs_f64()), Tone::Dim);
    }
    row = row.put(format!("{} ", line.mark.glyph()), Tone::Marked(line.mark));
    let who = if width >= NARROW { format!("{:<15} ", line.who) } else { format!("{} ", line.who) };
    row = row.put(if line.who.is_empty() { String::new() } else { who }, Tone::Plain);
    // What happens next is more useful than the end of a long message, so the message is cut.
    let (left, tail) = (width.saturating_sub(row.width()), line.tail());
    let what = match left.checked_sub(tail.chars().count()) {
        Some(columns) if columns >= MESSAGE_COLUMNS_MIN => cut(&line.what, columns),
        _ => line.what.clone(),
    };
    row.put(what, Tone::Plain).put(tail, Tone::Plain)
}

#[cfg(test)]
mod tests;
