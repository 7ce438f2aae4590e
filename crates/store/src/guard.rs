//! What keeps a running collection and everybody else out of each other's way.
//!
//! Shared by the writer thread, which reports every new edge, and by the collector (`collect.rs`).
//!
//! * The *barrier* is up while the collector marks a snapshot: edges written meanwhile are remembered, and the
//!   collector starts from them once more before it condemns anything.
//! * A resource is *condemned* when one transaction has proved it unreachable. It is `Pending` until the sweep
//!   reaches it. A new edge to a pending resource *rescues* it. Once it is `Leaving` it cannot be rescued any more; the
//!   writer of the edge then waits until it is gone. So after a lease (root, reference, label) was acknowledged, its
//!   target either stays or is visibly absent; it never disappears later.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::resource::{CONTENT, Resource};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Pending,
    Leaving,
}

#[derive(Debug)]
struct Condemned {
    phase: Phase,
    /// Where the resource itself points to: rescuing it rescues these.
    edges: Vec<Resource>,
}

#[derive(Debug, Default)]
struct State {
    barrier: Option<HashSet<Resource>>,
    condemned: HashMap<Resource, Condemned>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    state: Mutex<State>,
    gone: Notify,
}

impl Guard {
    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock; the state would be consistent even so.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if new edges are of interest at all.
    pub(crate) fn is_watching(&self) -> bool {
        let state = self.state();
        state.barrier.is_some() || !state.condemned.is_empty()
    }

    /// Records new edges; the answer is what the writer of the edges must wait for.
    ///
    /// Blobs are neither rescued nor awaited: the record of a condemned blob is gone already, so everybody sees it as
    /// absent, and only who brings it back cares for its file (see [`Guard::claim`]).
    pub(crate) fn note(&self, targets: impl IntoIterator<Item = Resource>) -> Vec<Resource> {
        let mut state = self.state();
        let mut wait = Vec::new();
        let mut todo: Vec<Resource> = targets.into_iter().collect();
        if let Some(barrier) = &mut state.barrier {
            barrier.extend(todo.iter().cloned());
        }
        while let Some(target) = todo.pop() {
            if target.kind == CONTENT {
                continue;
            }
            match state.condemned.get(&target).map(|condemned| condemned.phase) {
                Some(Phase::Pending) => {
                    todo.extend(
                        state
                            .condemned
                            .remove(&target)
                            .into_iter()
                            .flat_map(|found| found.edges),
                    );
                }
                Some(Phase::Leaving) => wait.push(target),
                None => {}
            }
        }
        wait
    }

    /// Makes sure that nobody removes the file of a blob that is about to be put in place.
    pub(crate) async fn claim(&self, blob: &Resource) {
        {
            let mut state = self.state();
            if state
                .condemned
                .get(blob)
                .is_some_and(|condemned| condemned.phase == Phase::Pending)
            {
                state.condemned.remove(blob);
            }
        }
        self.wait_gone(std::slice::from_ref(blob)).await;
    }

    pub(crate) fn raise_barrier(&self) {
        self.state().barrier = Some(HashSet::new());
    }

    pub(crate) fn lower_barrier(&self) -> HashSet<Resource> {
        self.state().barrier.take().unwrap_or_default()
    }

    pub(crate) fn condemn(&self, resources: impl IntoIterator<Item = (Resource, Vec<Resource>)>) {
        let condemned = resources.into_iter().map(|(resource, edges)| {
            (
                resource,
                Condemned {
                    phase: Phase::Pending,
                    edges,
                },
            )
        });
        self.state().condemned.extend(condemned);
    }

    /// Forgets every sentence that was not carried out.
    fn pardon_pending(&self) {
        self.state()
            .condemned
            .retain(|_, condemned| condemned.phase == Phase::Leaving);
    }

    /// Starts the removal of `resource`, unless it was rescued. It ends, successful or not, when the answer is dropped.
    pub(crate) fn begin_leaving<'a>(&'a self, resource: &'a Resource) -> Option<Leaving<'a>> {
        self.state().condemned.get_mut(resource)?.phase = Phase::Leaving;
        Some(Leaving {
            guard: self,
            resource,
        })
    }

    /// Waits until none of `resources` is leaving.
    pub(crate) async fn wait_gone(&self, resources: &[Resource]) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            // Registered before the look, so that a removal which ends in between is not missed.
            gone.as_mut().enable();
            let leaving = {
                let state = self.state();
                resources
                    .iter()
                    .any(|r| state.condemned.get(r).is_some_and(|c| c.phase == Phase::Leaving))
            };
            if !leaving {
                return;
            }
            gone.await;
        }
    }

    pub(crate) fn condemned(&self) -> Vec<Resource> {
        self.state().condemned.keys().cloned().collect()
    }
}

/// The removal of one resource.
#[derive(Debug)]
pub(crate) struct Leaving<'a> {
    guard: &'a Guard,
    resource: &'a Resource,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.guard.state().condemned.remove(self.resource);
        self.guard.gone.notify_waiters();
    }
}

/// A running collection. However it ends, nothing stays condemned that nobody is going to remove.
#[derive(Debug)]
pub(crate) struct Collection(pub(crate) std::sync::Arc<Guard>);

impl Drop for Collection {
    fn drop(&mut self) {
        self.0.lower_barrier();
        self.0.pardon_pending();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(id: &str) -> Resource {
        Resource::new("layer", id)
    }

    #[tokio::test]
    async fn a_new_edge_rescues_what_is_pending_and_its_parents() {
        let guard = Guard::default();
        guard.condemn([
            (layer("child"), vec![layer("parent")]),
            (layer("parent"), vec![]),
            (layer("other"), vec![]),
        ]);
        assert!(guard.is_watching());
        assert!(guard.note([layer("child")]).is_empty());
        assert!(guard.begin_leaving(&layer("child")).is_none());
        assert!(guard.begin_leaving(&layer("parent")).is_none());
        let other = layer("other");
        let leaving = guard.begin_leaving(&other).unwrap();
        let wait = guard.note([layer("other"), layer("unknown")]);
        assert_eq!(wait, [layer("other")]);
        guard.pardon_pending();
        let waiting = guard.wait_gone(&wait);
        tokio::pin!(waiting);
        assert!(futures_now(waiting.as_mut()).is_none());
        drop(leaving);
        waiting.await;
        assert!(!guard.is_watching());
    }

    fn futures_now<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        }
    }

    #[test]
    fn the_barrier_remembers_edges() {
        let guard = Guard::default();
        guard.note([layer("before")]);
        guard.raise_barrier();
        guard.note([layer("a"), layer("b"), layer("a")]);
        assert_eq!(guard.lower_barrier(), HashSet::from([layer("a"), layer("b")]));
        assert!(!guard.is_watching());
    }
}
