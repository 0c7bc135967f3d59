"""DCGAN: transposed convolutions against strided ones, in-place leaky ReLUs, two losses."""

import torch
import torch.nn as nn


def weights_init(m):
    classname = m.__class__.__name__
    if classname.find("Conv") != -1:
        nn.init.normal_(m.weight.data, 0.0, 0.2)
    elif classname.find("BatchNorm") != -1:
        nn.init.normal_(m.weight.data, 1.0, 0.02)
        nn.init.constant_(m.bias.data, 0)


class Generator(nn.Module):
    def __init__(self, nz=4, ngf=4, nc=3):
        super(Generator, self).__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(nz, ngf * 2, 2, 1, 0, bias=False),
            nn.BatchNorm2d(ngf * 2),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ngf),
            nn.ReLU(True),
            nn.ConvTranspose2d(ngf, nc, 4, 2, 1, bias=False),
            nn.Tanh(),
        )

    def forward(self, input):
        return self.main(input)


class Discriminator(nn.Module):
    def __init__(self, ndf=4, nc=3):
        super(Discriminator, self).__init__()
        self.main = nn.Sequential(
            nn.Conv2d(nc, ndf, 4, 2, 1, bias=False),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(ndf * 2),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Conv2d(ndf * 2, 1, 2, 1, 0, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, input):
        output = self.main(input)
        return output.view(-1, 1).squeeze(1)


class GAN(nn.Module):
    def __init__(self):
        super().__init__()
        self.netG = Generator()
        self.netG.apply(weights_init)
        self.netD = Discriminator()
        self.netD.apply(weights_init)


real_label, fake_label = 1.0, 0.0
criterion = nn.BCELoss()


def discriminator_loss(model, real, noise):
    output = model.netD(real)
    label = torch.full((real.size(0),), real_label, dtype=output.dtype, device=real.device)
    errD_real = criterion(output, label)
    fake = model.netG(noise)
    label = label.clone().fill_(fake_label)
    output = model.netD(fake.detach())
    errD_fake = criterion(output, label)
    return errD_real + errD_fake


def generator_loss(model, real, noise):
    fake = model.netG(noise)
    label = torch.full((real.size(0),), real_label, device=real.device)
    output = model.netD(fake)
    return criterion(output, label)


def make_model():
    return GAN()


def make_batch(random, n):
    return {"real": random.uniform(-1, 1, (n, 3, 8, 8)), "noise": random.standard_normal((n, 4, 1, 1))}


LOSSES = {"discriminator": discriminator_loss, "generator": generator_loss}
