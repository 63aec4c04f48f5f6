//! Images of a project: apps with the same base and the same packages share one.

use std::collections::BTreeSet;

use crate::base::Base;
use crate::project::Project;
use crate::service::{Lifecycle, Service};
use crate::{Options, names};

/// An image to build.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Name without a tag.
    pub name: String,
    /// Path of its Dockerfile in the project.
    pub dockerfile: String,
    pub base: Base,
    /// Folder in which its packages are installed, relative to the project.
    pub folder: String,
    /// Names of its services.
    pub services: Vec<String>,
}

/// Returns the images of these services, in the order of first use.
pub(crate) fn images(project: &Project, options: &Options, services: &[Service<'_>]) -> Vec<Image> {
    let mut all: Vec<Image> = Vec::new();
    for service in services.iter().filter(|service| !service.has_official_image()) {
        let folder = project.folder_with(&service.folder, service.base.manifests()).map_or_else(String::new, |(path, _)| path.to_owned());
        match all.iter_mut().find(|image| image.base == service.base && image.folder == folder) {
            Some(image) => image.services.push(service.name.clone()),
            None => all.push(Image {
                name: String::new(),
                dockerfile: String::new(),
                base: service.base.clone(),
                folder,
                services: vec![service.name.clone()],
            }),
        }
    }
    let root = options.image.clone().unwrap_or_else(|| names::label(&project.name));
    let is_single = all.len() == 1;
    let mut taken = BTreeSet::new();
    for image in &mut all {
        if is_single {
            (image.name, image.dockerfile) = (root.clone(), "Dockerfile".into());
            continue;
        }
        let word = if image.folder.is_empty() { image.base.word().to_owned() } else { names::label(&image.folder) };
        // The same folder may contain a Node server and a Python server.
        let own = if taken.insert(word.clone()) { word } else { format!("{word}-{}", image.base.word()) };
        taken.insert(own.clone());
        image.name = format!("{root}-{own}");
        image.dockerfile = format!("Dockerfile.{own}");
    }
    all
}

/// Returns true if the image contains a server: only then it has a health check.
pub(crate) fn has_server(image: &Image, services: &[Service<'_>]) -> bool {
    services.iter().any(|service| image.services.contains(&service.name) && service.kind == Lifecycle::Server)
}
