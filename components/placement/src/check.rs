//! stand-in
use crate::{
    decision::Intent,
    fleet::Fleet,
    operator::{Sight, setbacks::Setbacks},
    view::RegionInfo,
};
pub enum Finding {
    Sound,
    Do(Box<Intent>),
    Stuck(String),
}
pub fn is_sound(_: &Sight<'_>, _: &RegionInfo) -> bool {
    true
}
pub fn check(_: &Fleet<'_>, _: &RegionInfo, _: &Setbacks) -> Finding {
    Finding::Sound
}
pub fn is_repair(_: &str) -> bool {
    false
}

pub fn keeps_place(
    _: &Fleet<'_>,
    _: &RegionInfo,
    _: flotilla_base::StoreId,
    _: flotilla_base::StoreId,
) -> bool {
    true
}
