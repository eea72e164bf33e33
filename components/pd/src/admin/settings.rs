//! Settings, by name.

use flotilla_pdcore::Decided;
use flotilla_placement::Policy;
use flotilla_proto::placement as wire;

use super::{Unwanted, administer};
use crate::handle::CoreHandle;

/// With a value nothing of which may stand before the labels.
const ISOLATION_LEVEL: &str = "isolation-level";

/// All settings, by name.
pub(crate) fn all_settings(policy: &Policy) -> Vec<wire::Setting> {
    let described = Policy::describe().into_iter().zip(policy.list());
    let setting = |((name, possible, usual), (_, value))| wire::Setting {
        name: String::from(name),
        value,
        usual,
        possible: String::from(possible),
    };
    described.map(setting).collect()
}

/// Sets settings, all or none; `None` stands for the usual value. They may come in any order.
pub(crate) async fn set(
    core: &CoreHandle,
    values: Vec<(String, Option<String>)>,
) -> Result<(), Unwanted> {
    let mut settings: Vec<(String, String)> = values.into_iter().map(with_value).collect();
    settings.sort_by_key(|(name, value)| match (name.ends_with(ISOLATION_LEVEL), value.as_str()) {
        // One of the labels: none of the old ones is needed any more, or one of the new ones is.
        (true, "") => 0,
        (false, _) => 1,
        (true, _) => 2,
    });
    let _one_at_a_time = core.deciding.lock().await;
    Ok(administer(core, Decided::Settings(settings)).await?)
}

/// One that is not known is refused by whoever knows all of them.
fn with_value((name, value): (String, Option<String>)) -> (String, String) {
    let is_it = |known: &str| known == name || known.split_once('.').is_some_and(|it| it.1 == name);
    let usual = || {
        let mut known = Policy::describe().into_iter();
        known.find(|(known, _, _)| is_it(known)).map(|(_, _, usual)| usual).unwrap_or_default()
    };
    let value = value.unwrap_or_else(usual);
    (name, value)
}
