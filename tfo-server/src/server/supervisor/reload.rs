//! Reloads the settings while the server is running.
//!
//! A reload is atomic: [`Supervisor::prepare`] does everything that can fail, before anything changes. Then
//! [`Supervisor::apply`] makes the changes. On an error, the previous settings, keys and listeners remain.

use std::collections::HashMap;
use std::io;
use std::mem;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tfo_core::cli::error_chain;

use super::{ReadSettings, Supervisor, all_sockets, make_services};
use crate::config::{ListenSettings, Settings};
use crate::keys::{KeySource, Keys};
use crate::server::descriptors::{self, DescriptorNeed};
use crate::server::listeners::BoundListener;
use crate::service::Service;

/// New settings, and everything they need that could fail to be created.
struct ReloadPlan {
    settings: Settings,
    /// The new keys, if they have another source than before.
    keys: Option<Keys>,
    /// Listeners that remain, by their current index, with their new service.
    remaining: Vec<(usize, Service)>,
    added: Vec<BoundListener>,
}

impl Supervisor {
    /// Reloads settings and keys. On an error, logs it and keeps the previous configuration.
    pub(super) fn reload(&mut self, read: ReadSettings<'_>) {
        if self.stopping.is_some() {
            return;
        }
        self.notifier.reloading();
        let plan = read().map_err(|e| error_chain(&e)).and_then(|settings| self.prepare(settings));
        match plan.and_then(|plan| self.apply(plan).map_err(|e| error_chain(&e))) {
            Ok(()) => {
                log::info!("settings reloaded");
                self.notifier.ready(&self.status());
            }
            Err(why) => {
                log::error!("reload failed: {why}; keeping the previous configuration");
                self.notifier.ready(&format!("{}; reload failed: {why}", self.status()));
            }
        }
    }

    /// Does everything that can fail, and changes nothing.
    fn prepare(&self, settings: Settings) -> Result<ReloadPlan, String> {
        if settings.keys == KeySource::Kernel && self.keys.are_own() {
            return Err(
                "keys.mode: a listener with keys of its own can't return to the kernel's keys \
                        without a restart"
                    .to_owned(),
            );
        }
        self.check_inherited(&settings)?;
        let services = make_services(&settings).map_err(|failure| failure.to_string())?;
        let other_keys = (settings.keys != self.settings.keys)
            .then(|| Keys::load(&settings.keys, SystemTime::now()))
            .transpose()
            .map_err(|e| error_chain(&e))?;
        let keys = other_keys.as_ref().unwrap_or(&self.keys);
        let places = self.listeners.iter().enumerate().map(|(index, bound)| (bound.address, index));
        let places: HashMap<_, _> = places.collect();
        let mut remaining = Vec::new();
        let mut added = Vec::new();
        for (listen, service) in settings.listeners.iter().zip(services) {
            let place = places.get(&listen.address).copied();
            let before = place.and_then(|index| self.listeners.get(index));
            let service = match before {
                Some(bound) => service.with_state_of(&bound.service),
                None => service,
            };
            service.start().map_err(|e| format!("{}: {e}", listen.address))?;
            if let Some(index) = place {
                remaining.push((index, service));
                continue;
            }
            let number = self.next_number + added.len();
            let bound = BoundListener::new(
                number,
                listen,
                service,
                keys,
                self.settings.workers,
                Vec::new(),
            )
            .map_err(|e| self.cannot_listen(listen, &e))?;
            added.push(bound);
        }
        Ok(ReloadPlan { settings, keys: other_keys, remaining, added })
    }

    /// Fails if the new settings remove an inherited socket. The process that passed the socket keeps it open: clients
    /// would wait in its queue forever, and this process could not bind the address again.
    fn check_inherited(&self, settings: &Settings) -> Result<(), String> {
        let stays = |bound: &&BoundListener| {
            settings.listeners.iter().any(|listen| listen.address == bound.address)
        };
        let mut inherited = self.listeners.iter().filter(|bound| bound.is_inherited());
        inherited.find(|bound| !stays(bound)).map_or(Ok(()), |bound| {
            Err(format!(
                "{} is in no [[listen]] table, and its socket comes from socket activation: removing it \
                 needs a restart without that socket",
                bound.address
            ))
        })
    }

    /// Returns why a new listener could not be bound, and what to do.
    fn cannot_listen(&self, listen: &ListenSettings, e: &tfo_core::Error) -> String {
        let address = listen.address;
        let same_port = |bound: &&BoundListener| bound.address.port() == address.port();
        let advice = match (e.kind(), self.listeners.iter().find(same_port)) {
            (io::ErrorKind::AddrInUse, None) if self.closing.has_port(address.port()) => {
                " (it is still closing: reload again in a second)".to_owned()
            }
            (io::ErrorKind::AddrInUse, Some(own)) => {
                format!(" (possibly by this server's {}: that needs a restart)", own.address)
            }
            (io::ErrorKind::PermissionDenied, _) if self.settings.process.user.get().is_some() => {
                " (privileges were dropped at the start: that needs a restart)".to_owned()
            }
            _ => String::new(),
        };
        format!("can't listen on {address}: {}{advice}", error_chain(e))
    }

    /// Applies the plan. Fails only if a worker cannot be woken.
    fn apply(&mut self, plan: ReloadPlan) -> io::Result<()> {
        let ReloadPlan { mut settings, keys, remaining, mut added } = plan;
        self.keep_startup_settings(&mut settings);
        self.next_number += added.len();
        let mut before: Vec<_> = mem::take(&mut self.listeners).into_iter().map(Some).collect();
        for (index, service) in remaining {
            let Some(mut bound) = before.get_mut(index).and_then(Option::take) else { continue };
            let replaced = mem::replace(&mut bound.service, service);
            if !replaced.is(&bound.service) {
                replaced.stop();
            }
            self.listeners.push(bound);
        }
        let removed: Vec<_> = before.into_iter().flatten().collect();
        for bound in &removed {
            bound.service.stop();
            log::info!("no longer listening on {}", bound.address);
        }
        if let Err(e) = self.close(&removed) {
            log::error!("can't wake a worker: {e}");
        }
        for bound in &added {
            log::info!("listening on {} ({})", bound.address, bound.service.kind());
        }
        self.listeners.append(&mut added);
        if settings.limits.connections != self.settings.limits.connections {
            descriptors::raise(DescriptorNeed::from_settings(&settings));
        }
        let max_connections = settings.limits.connections.get() as usize;
        self.shared.max_connections.store(max_connections, Ordering::Relaxed);
        self.settings = settings;
        self.limit_descriptors();
        self.set_queues();
        match keys {
            Some(keys) => {
                self.keys.replace(keys);
                self.keys.apply(all_sockets(&self.listeners));
            }
            None => self.keys.check(SystemTime::now(), true, all_sockets(&self.listeners)),
        }
        self.send_listeners()
    }

    fn set_queues(&self) {
        let settings = self.settings.listeners_by_address();
        for bound in &self.listeners {
            let Some(listen) = settings.get(&bound.address) else { continue };
            let (queue, _) = listen.queue_and_backlog(bound.sockets.len());
            if let Err(e) = bound.set_queue(queue) {
                log::error!("{}: {}", bound.address, error_chain(&e));
            }
        }
    }

    /// Keeps the settings that cannot change at run time, and logs those that differ.
    fn keep_startup_settings(&self, new: &mut Settings) {
        let old = &self.settings;
        let keep = |name: &str, differs: bool| {
            if differs {
                log::warn!("{name} has changed: that needs a restart");
            }
        };
        keep("engine.workers", new.workers != old.workers);
        keep("metrics", new.metrics != old.metrics);
        keep("process", new.process != old.process);
        keep("output", new.output != old.output);
        let before = old.listeners_by_address();
        for listen in &mut new.listeners {
            if let Some(other) = before.get(&listen.address) {
                keep("listen.backlog", listen.table.backlog != other.table.backlog);
                listen.table.backlog = other.table.backlog;
            }
        }
        new.workers = old.workers;
        new.metrics = old.metrics;
        new.process.clone_from(&old.process);
        new.output.clone_from(&old.output);
    }
}
