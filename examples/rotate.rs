//! A development CA in tests of one's own: a pair of Diego's shape that is replaced as Diego replaces it, the key first and the
//! certificate last, and at last the pair that announces the instance's retirement.
//!
//! ```text
//! cargo run --example rotate -- creds
//! ```

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::time::SystemTime;

use vestibule::identity::Certificate;
use vestibule::issuer::{CertificateAuthority, Folder, InstanceSpec};
use vestibule::pem::Pem;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("into which folder?")?);
    fs::create_dir_all(&folder)?;
    let authority = CertificateAuthority::generate(SystemTime::now())?;
    authority.write_roots(&folder.join("ca.crt"))?;

    let pair = Folder::instance(&folder);
    let instance = InstanceSpec::generate()?;
    for (spec, what) in [(&instance, "issued"), (&instance, "rotated"), (&instance.retired(), "retired")] {
        pair.write(&authority.issue(spec, SystemTime::now())?)?;
        let chain = Pem::read(&fs::read(pair.cert())?)?.chain();
        let leaf = Certificate::from_der(chain.first().ok_or("no certificate")?)?;
        println!("{what:8} {} serial {}", leaf.subject(), leaf.serial());
    }
    Ok(())
}
