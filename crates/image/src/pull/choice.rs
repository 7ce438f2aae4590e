//! Which entry of an index is pulled, and what is refused before anything big is fetched.

use super::Pull;
use crate::{
    document::{Entry, Index},
    error::{ImageError, Result},
    platform::{Matcher, Platform, host::Refusal},
};

impl Pull<'_> {
    /// The order in which entries of an index are preferred.
    pub(super) fn matcher(&self) -> Matcher {
        let wanted = &self.options.platform;
        match (self.inner.host.get(), self.options.platform_explicit) {
            (Some(host), true) => Matcher::new(&host.specific(wanted)),
            (Some(host), false) => host.matcher(wanted),
            (None, true) => Matcher::new(wanted),
            (None, false) => Matcher::any_os(wanted),
        }
    }

    /// Refuses what no isolation of this host runs. `others` has what the name offers besides.
    pub(super) fn check_host(&self, platform: &Platform, others: &[Entry]) -> Result<()> {
        let Some(host) = self.inner.host.get().filter(|host| host.is_choosy()) else {
            return Ok(());
        };
        if !platform.is_windows() {
            return Ok(());
        }
        let requested = self.options.isolation;
        let Err(refusal) = host.isolation(platform.windows_version(), requested) else {
            return Ok(());
        };
        let others = others.iter().filter(|entry| entry.is_image);
        let others = others
            .filter_map(|entry| Some((entry.platform.as_ref()?, &entry.blob.digest)))
            .filter(|(other, _)| other.architecture == platform.architecture);
        let refusal = Refusal {
            compatible: host.newest(others, requested),
            ..refusal
        };
        Err(ImageError::Incompatible {
            reference: self.what(),
            name: self.reference.familiar_name(),
            refusal: Box::new(refusal),
        })
    }

    /// An index has nothing for the platform: perhaps it only has versions of Windows that do not run here.
    pub(super) fn nothing_fits(&self, index: &Index) -> ImageError {
        let available = offered(index);
        let wanted = &self.options.platform;
        let same = |platform: &&Platform| {
            platform.architecture == wanted.architecture
                && (!self.options.platform_explicit || wanted.is_windows())
        };
        // The oldest is the nearest to running.
        let nearest = available
            .iter()
            .filter(same)
            .filter_map(|platform| Some((platform.windows_version()?, platform)))
            .min_by_key(|(version, _)| *version);
        match nearest.map(|(_, platform)| self.check_host(platform, &index.entries)) {
            Some(Err(refusal)) => refusal,
            _ => self.mismatch(available),
        }
    }

    pub(super) fn mismatch(&self, available: Vec<Platform>) -> ImageError {
        ImageError::PlatformMismatch {
            reference: self.what(),
            wanted: Box::new(self.options.platform.clone()),
            available,
        }
    }
}

/// The best entry for a platform; one that does not say its platform is better than none.
pub(super) fn choose<'a>(index: &'a Index, matcher: &Matcher) -> Option<&'a Entry> {
    let images = || index.entries.iter().filter(|e| e.is_image);
    images()
        .filter_map(|e| Some((matcher.rank(e.platform.as_ref()?)?, e)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, e)| e)
        .or_else(|| images().find(|e| e.platform.is_none()))
}

fn offered(index: &Index) -> Vec<Platform> {
    let mut all: Vec<_> = index
        .entries
        .iter()
        .filter(|e| e.is_image)
        .filter_map(|e| e.platform.clone())
        .collect();
    all.sort();
    all.dedup();
    all
}
