//! Writes a side file.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::{HOST_NAME, MAGIC, TOMBSTONED, VERSION};
use crate::LayerError;
use crate::windows::table::{NodeId, Table, What};
use crate::windows::{LinkKind, Metadata, Reparse, SecurityDescriptor};

/// Writes the side file of a layer. `streams` holds the contents of its streams, where the table says they begin.
pub fn write_side_file(
    table: &Table,
    streams: &mut (impl Read + Seek),
    out: impl Write,
) -> Result<(), LayerError> {
    let mut out = Encoder {
        out,
        crc: crc32fast::Hasher::new(),
    };
    let order = table.order();
    let mut descriptors: Vec<&SecurityDescriptor> = Vec::new();
    let mut numbers: HashMap<&SecurityDescriptor, u64> = HashMap::new();
    for (node, _) in &order {
        if let Some(metadata) = table.metadata(*node) {
            numbers.entry(&metadata.descriptor).or_insert_with(|| {
                descriptors.push(&metadata.descriptor);
                descriptors.len() as u64 - 1
            });
        }
    }
    out.put(MAGIC)?;
    out.put(&VERSION.to_le_bytes())?;
    out.number(descriptors.len() as u64)?;
    for descriptor in descriptors {
        out.bytes(descriptor.as_bytes())?;
    }
    out.number(order.len() as u64)?;
    let mut first: HashMap<u32, u64> = HashMap::new();
    for (number, (node, depth)) in (0..).zip(&order) {
        out.record(table, *node, *depth as u64, number, &numbers, &mut first)?;
    }
    let mut done = HashSet::new();
    for (node, _) in &order {
        let What::Object(object) = table.what(*node) else {
            continue;
        };
        if !done.insert(*object) {
            continue;
        }
        for stream in table.streams(*node).unwrap_or_default() {
            streams
                .seek(SeekFrom::Start(stream.offset))
                .map_err(LayerError::read)?;
            let copied =
                io::copy(&mut (&mut *streams).take(stream.size), &mut out).map_err(LayerError::write)?;
            if copied < stream.size {
                return Err(LayerError::read(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
    let crc = out.crc.clone().finalize();
    out.put(&crc.to_le_bytes())?;
    out.out.flush().map_err(LayerError::write)
}

struct Encoder<W> {
    out: W,
    crc: crc32fast::Hasher,
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.crc.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Encoder<W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.write_all(bytes).map_err(LayerError::write)
    }

    fn number(&mut self, mut number: u64) -> Result<(), LayerError> {
        let mut bytes = Vec::with_capacity(10);
        loop {
            let low = (number & 0x7f) as u8;
            number >>= 7;
            if number == 0 {
                bytes.push(low);
                return self.put(&bytes);
            }
            bytes.push(low | 0x80);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), LayerError> {
        self.number(bytes.len() as u64)?;
        self.put(bytes)
    }

    fn record(
        &mut self,
        table: &Table,
        node: NodeId,
        depth: u64,
        number: u64,
        descriptors: &HashMap<&SecurityDescriptor, u64>,
        first: &mut HashMap<u32, u64>,
    ) -> Result<(), LayerError> {
        self.number(depth)?;
        self.bytes(table.name_of(node).as_bytes())?;
        let original = match table.what(node) {
            What::Object(object) => first.get(object).copied(),
            _ => None,
        };
        let link = table.reparse(node);
        let kind = match (table.what(node), link.map(Reparse::kind)) {
            (What::Directory { .. }, _) => 0,
            (What::Object(_), _) if original.is_some() => 4,
            (What::Object(_), None) => 1,
            (What::Object(_), Some(LinkKind::Symlink)) => 2,
            (What::Object(_), Some(LinkKind::MountPoint)) => 3,
            (What::Lower(_), _) => 5,
            (What::Gone, _) => 6,
        };
        let host = Some(table.host_name(node)).filter(|host| *host != table.name_of(node));
        let tombstoned = if table.is_tombstoned(node) { TOMBSTONED } else { 0 };
        self.put(&[kind | tombstoned | host.map_or(0, |_| HOST_NAME)])?;
        if let Some(host) = host {
            self.bytes(host.as_bytes())?;
        }
        if let Some(original) = original {
            return self.number(original);
        }
        match table.what(node) {
            What::Lower(target) => return self.bytes(target.as_str().as_bytes()),
            What::Object(object) => drop(first.insert(*object, number)),
            What::Directory { .. } | What::Gone => {}
        }
        if let Some(metadata) = table.metadata(node) {
            self.metadata(metadata, descriptors[&metadata.descriptor])?;
        }
        if let Some(size) = table.size(node) {
            self.number(size)?;
            let streams = table.streams(node).unwrap_or_default();
            self.number(streams.len() as u64)?;
            for stream in streams {
                self.bytes(stream.name.as_str().as_bytes())?;
                self.number(stream.size)?;
            }
        }
        match link {
            Some(link) => self.bytes(link.target().as_bytes()),
            None => Ok(()),
        }
    }

    fn metadata(&mut self, metadata: &Metadata, descriptor: u64) -> Result<(), LayerError> {
        let times = &metadata.times;
        self.number(metadata.attributes.bits().into())?;
        self.number(times.modified.ticks())?;
        for time in [times.created, times.accessed, times.changed] {
            let difference = time.ticks().cast_signed() - times.modified.ticks().cast_signed();
            self.number(((difference << 1) ^ (difference >> 63)).cast_unsigned())?;
        }
        self.number(descriptor)?;
        self.number(metadata.extended.iter().len() as u64)?;
        for (name, value) in metadata.extended.iter() {
            self.bytes(name)?;
            self.bytes(value)?;
        }
        Ok(())
    }
}
