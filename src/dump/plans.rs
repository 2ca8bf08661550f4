//! The plans in a dump, for who wants nothing else of it: they can be tried before any store has them.
//!
//! The file may be edited by hand, so it needs neither the header nor the end line that a restore asks for.

use std::collections::HashSet;
use std::io::BufRead;

use super::lines::Line;
use super::restore::next_line;
use crate::domain::plan::Plan;

/// The plans of a dump, in its order; its other lines are passed over.
///
/// # Errors
/// With the reason, when the input fails, a line is none of a dump, or a plan stands twice.
pub fn read_plans(mut dump: impl BufRead) -> Result<Vec<Plan>, String> {
    let (mut plans, mut ids, mut number) = (Vec::new(), HashSet::new(), 0_u64);
    while let Some(text) = next_line(&mut dump).map_err(|error| format!("could not read it: {error}"))? {
        number = number.saturating_add(1);
        if text.trim_ascii().is_empty() {
            continue;
        }
        let refused = |reason: String| format!("line {number}: {reason}");
        match Line::parse(&text).map_err(refused)? {
            Line::Plan(line) => {
                let plan = line.check().map_err(refused)?;
                if !ids.insert(plan.id.clone()) {
                    return Err(refused(format!("the plan {} stands twice", plan.id)));
                }
                plans.push(plan);
            }
            Line::Header(header) if !header.is_ours() => {
                return Err(refused("a dump of a later version".to_owned()));
            }
            Line::Header(_)
            | Line::Account(_)
            | Line::Key(_)
            | Line::Counter(_)
            | Line::Link(_)
            | Line::ClickDay(_)
            | Line::Click(_)
            | Line::Conversion(_)
            | Line::TakenSlug(_)
            | Line::Usage(_)
            | Line::End(_) => {}
        }
    }
    Ok(plans)
}
