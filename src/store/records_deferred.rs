//! Records of deferred events. The same rules as in `records.rs`.

use serde::{Deserialize, Serialize};

use super::codec::{self, Damage};
use super::recording::Event;
use super::records_links::ClickV1;
use crate::domain::id::{ClickId, LinkId};
use crate::domain::time::Timestamp;
use crate::domain::variant::Label;

const V1: u8 = 1;

#[derive(Serialize, Deserialize)]
enum EventV1 {
    Click { link_id: [u8; 16], id: [u8; 16], click: ClickV1 },
    Conversion { link_id: [u8; 16], visitor: [u8; 16], variant: String, at_ms: i64 },
}

pub(super) fn events_to_bytes(events: &[Event]) -> Result<Vec<u8>, bincode::Error> {
    let event = |event: &Event| match event {
        Event::Click(click) => {
            EventV1::Click { link_id: *click.link_id.as_bytes(), id: *click.id.as_bytes(), click: ClickV1::of(click) }
        }
        Event::Conversion { link_id, visitor, variant, at } => EventV1::Conversion {
            link_id: *link_id.as_bytes(),
            visitor: *visitor,
            variant: variant.as_str().to_owned(),
            at_ms: at.as_millis(),
        },
    };
    codec::seal(V1, &events.iter().map(event).collect::<Vec<_>>())
}

pub(super) fn events_from_bytes(bytes: &[u8]) -> Result<Vec<Event>, Damage> {
    let events: Vec<EventV1> = codec::unseal(V1, bytes)?;
    let event = |event| {
        Ok(match event {
            EventV1::Click { link_id, id, click } => {
                Event::Click(click.into_click(LinkId::from_bytes(link_id), ClickId::from_bytes(id))?)
            }
            EventV1::Conversion { link_id, visitor, variant, at_ms } => Event::Conversion {
                link_id: LinkId::from_bytes(link_id),
                visitor,
                variant: Label::new(&variant)?,
                at: Timestamp::from_millis(at_ms)?,
            },
        })
    };
    events.into_iter().map(event).collect()
}
