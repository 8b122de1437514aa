//! What a test may choose about the stand-in driver.
//!
//! In: a text of `name=value` pairs with commas between, from the environment variable
//! `AUSPEX_GPU_SIM` when the driver starts or from the entry point `auspexSimConfigure`; out:
//! [`Settings`].

use std::ops::Range;

use crate::exec::Order;

/// The environment variable that is read at the start.
pub(crate) const VARIABLE: &str = "AUSPEX_GPU_SIM";

/// How the stand-in driver behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Devices that there are.
    pub n_devices: usize,
    /// The driver's version, as `1000 * major + 10 * minor`.
    pub driver_version: i32,
    /// Memory of each device.
    pub memory_bytes: usize,
    /// Memory of the host that a context may lock.
    pub host_bytes: usize,
    /// The order in which threads and blocks run.
    pub order: Order,
    /// A device whose kernels compute wrong results: each store of four or more bytes is one bit off, whole
    /// numbers too; atomic operations are right.
    pub is_wrong: bool,
    /// A device whose streams do not wait for events.
    pub is_deaf: bool,
    /// Devices that allocate and free memory in the order of a stream.
    pub has_pools: bool,
    /// Devices that `auto` may choose, as if they were no stand-in.
    pub shows_as_device: bool,
    /// The launch, counted from the last configuration, that has an illegal address.
    pub fault_at_launch: Option<u64>,
    /// The allocations, counted from 1 since the last configuration, for which there is no memory.
    pub failing_allocations: Range<u64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            n_devices: 1,
            driver_version: 12_090,
            memory_bytes: 1 << 30,
            host_bytes: 1 << 30,
            order: Order::Forward,
            is_wrong: false,
            is_deaf: false,
            has_pools: true,
            shows_as_device: false,
            fault_at_launch: None,
            failing_allocations: 0..0,
        }
    }
}

impl Settings {
    /// Reads settings; those that are not named have their defaults.
    ///
    /// Errors: the pair that is not known.
    pub fn parse(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let wrong = || format!("`{pair}` is not a setting");
            let (name, value) = pair.split_once('=').ok_or_else(wrong)?;
            let number = || value.trim().parse::<u64>().map_err(|_| wrong());
            match name.trim() {
                "devices" => settings.n_devices = number()? as usize,
                "driver_version" => settings.driver_version = number()? as i32,
                "memory_bytes" => settings.memory_bytes = number()? as usize,
                "host_bytes" => settings.host_bytes = number()? as usize,
                "order" => settings.order = Order::parse(value.trim()).ok_or_else(wrong)?,
                "wrong" => settings.is_wrong = number()? != 0,
                "deaf" => settings.is_deaf = number()? != 0,
                "pools" => settings.has_pools = number()? != 0,
                "shows_as_device" => settings.shows_as_device = number()? != 0,
                "fault_at_launch" => settings.fault_at_launch = Some(number()?),
                "failing_allocations" => {
                    let (first, end) = value.split_once("..").ok_or_else(wrong)?;
                    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
                    settings.failing_allocations = number(first)?..number(end)?;
                }
                _ => return Err(wrong()),
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::Settings;
    use crate::exec::Order;

    #[test]
    fn settings_are_pairs() {
        let text =
            "devices=2, order=shuffle:7, failing_allocations=3..5, pools=0, shows_as_device=1";
        let settings = Settings::parse(text).expect("known");
        assert_eq!(settings.n_devices, 2);
        assert_eq!(settings.order, Order::Shuffled(7));
        assert_eq!(settings.failing_allocations, 3..5);
        assert!(!settings.has_pools && settings.shows_as_device);
        assert_eq!(Settings::parse("").expect("empty"), Settings::default());
        for wrong in [
            "devices",
            "devices=many",
            "order=sideways",
            "colour=red",
            "failing_allocations=3",
        ] {
            assert!(Settings::parse(wrong).is_err(), "{wrong}");
        }
    }
}
